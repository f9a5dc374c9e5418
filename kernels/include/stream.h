// Writing past the caches, for results that exceed them: a store that goes through them reads the
// line that it is about to overwrite.
//
//   STREAM_OUT(to, from, bytes)  statement: copy that many bytes from private to global memory;
//                                `from` is aligned to 64 bytes

#ifndef CLNET_STREAM_H
#define CLNET_STREAM_H

#if defined(__has_builtin)
#if __has_builtin(__builtin_nontemporal_store)
#define STREAM_LINE(to, line) __builtin_nontemporal_store(line, to)
#endif
#endif
#ifndef STREAM_LINE
#define STREAM_LINE(to, line) (*(to) = (line))
#endif

#ifdef __AVX512F__
// Taking a vector by value makes CPU compilers use vectors of that size in the caller's loops too.
static inline void stream_line(__global uint16 *to, const uint16 line) { STREAM_LINE(to, line); }
#else
#define stream_line(to, line) STREAM_LINE(to, line)
#endif

static inline void stream_out(__global uchar *to, const uchar *from, const int bytes) {
  int done = 0;
  if (((size_t)to & 63) == 0)
    for (; done + 64 <= bytes; done += 64)
      stream_line((__global uint16 *)(to + done), *(const uint16 *)(from + done));
  for (; done < bytes; ++done) to[done] = from[done];
}
#define STREAM_OUT(to, from, bytes) \
  stream_out((__global uchar *)(to), (const uchar *)(from), (int)(bytes));

#endif  // CLNET_STREAM_H
