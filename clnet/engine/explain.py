"""What the engine sees and does: the graph, its plan and the kernel sources, in words and drawn."""

from __future__ import annotations

from collections.abc import Sequence

from clnet.core import Tensor
from clnet.device import Device
from clnet.engine.graph import OUTPUT, Graph
from clnet.engine.plan import Plan
from clnet.engine.run import engine, target
from clnet.engine.task import Task
from clnet.errors import ClnetError


def _pending(tensors: Sequence[Tensor]) -> tuple[Graph, Device]:
    nodes = [t.node for t in tensors]
    on = next((n.device for n in nodes if n.device is not None), None) or engine.default_device()
    return Graph(nodes).opened()[0], on


def _operand(graph: Graph, position: int) -> str:
    node = graph.nodes[position]
    return repr(node.value) if node.value is not None else f"%{position}"


def _describe(graph: Graph, position: int) -> str:
    node = graph.nodes[position]
    if node.value is not None:
        return f"scalar {node.value!r}"
    if not graph.inputs[position]:
        return f"in memory, strides {list(node.strides or ())}"
    assert node.op is not None
    attrs = [f"{key}={value}" for key, value in node.attrs.items()]
    return (
        f"{node.op.name}({', '.join([_operand(graph, i) for i in graph.inputs[position]] + attrs)})"
    )


def _task_line(number: int, task: Task) -> str:
    parts = [
        f"{number:4d}  {task.launch.file}:{task.launch.entry}  [{task.label}]",
        f"global {task.launch.global_size} local {task.launch.local_size}",
        f"buffers {' '.join(f's{slot}' for _, slot in task.arguments.buffers)}",
    ]
    if len(task.parts) > 1:
        parts.append(f"serves {len(task.parts)} tensors")
    return "; ".join(parts)


def explain(*tensors: Tensor, source: bool = True) -> str:
    """Return a text with the pending graph of tensors, its plan, and the kernels' source.

    The graph: a line per node. The plan: a line per launch with the ops in it, its sizes and
    buffers; why reductions and products stand alone and chains end; the buffers that a run
    allocates, and how many bytes have to exist at once. Computes nothing. `source=False` leaves the
    kernels out.

    >>> import clnet as cn
    >>> x = cn.tensor([1.0, 2.0])
    >>> print(cn.explain(cn.tanh(x * 2) + x, source=False))  # doctest: +ELLIPSIS
    graph: 5 nodes
    ...
    plan: 1 launch ...
    """
    graph, on = _pending(tensors)
    plan = Plan(graph, target(on))
    lines = [f"graph: {len(graph.nodes)} nodes"]
    for position, node in enumerate(graph.nodes):
        mark = "  -> kept" if graph.flags[position] == OUTPUT else ""
        lines.append(
            f"{'%' + str(position):>6} {node.spec!s:24} {_describe(graph, position)}{mark}"
        )
    count = len(plan.tasks)
    lines.append(f"plan: {count} launch{'' if count == 1 else 'es'} on {on}")
    lines += [_task_line(i, task) for i, task in enumerate(plan.tasks)]
    for position, reason in plan.reasons.items():
        node = graph.nodes[position]
        assert node.op is not None
        verb = "stands alone" if node.op.expr is None else "ends a kernel"
        lines.append(f"      %{position} {node.op.name} {verb}: {reason}")
    memory = plan.memory
    lines += [f"      s{slot} = {nbytes:,} bytes" for slot, nbytes in memory.buffers.items()]
    lines.append(
        f"memory: {memory.allocated:,} bytes besides what exists already, "
        f"of which {memory.live:,} have to exist at once"
    )
    if source:
        for name, text in dict.fromkeys(
            (task.launch.entry, "\n".join(f"#define {k} {v}" for k, v in task.launch.defines))
            for task in plan.tasks
        ):
            lines += [f"--- {name}", text]
    return "\n".join(lines)


def draw(*tensors: Tensor) -> str:
    """Return the pending graph of tensors as Graphviz source; `draw_svg` renders it.

    >>> import clnet as cn
    >>> print(cn.draw(cn.tensor([1.0]) * 2).splitlines()[0])
    digraph clnet {
    """
    graph, _ = _pending(tensors)
    lines = ["digraph clnet {", "  rankdir=TB; node [shape=box, fontname=monospace];"]
    for position, node in enumerate(graph.nodes):
        title = node.op.name if node.op is not None and graph.inputs[position] else "value"
        title = repr(node.value) if node.value is not None else title
        style = ", style=filled, fillcolor=lightblue" if not graph.inputs[position] else ""
        style = ", style=bold" if graph.flags[position] == OUTPUT else style
        lines.append(f'  n{position} [label="{title}\\n{node.spec}"{style}];')
        lines += [f"  n{i} -> n{position};" for i in graph.inputs[position]]
    return "\n".join([*lines, "}"])


def draw_svg(*tensors: Tensor) -> str:
    """Return the pending graph of tensors as SVG, rendered by Graphviz' `dot`.

    Errors: ClnetError where `dot` is not installed.
    """
    import shutil  # only who draws pays for these
    import subprocess

    dot = shutil.which("dot")
    if dot is None:
        raise ClnetError(
            "draw_svg: Graphviz' `dot` was not found; install graphviz, or use cn.draw"
        )
    source = draw(*tensors)
    return subprocess.run(
        [dot, "-Tsvg"], input=source, capture_output=True, text=True, check=True
    ).stdout
