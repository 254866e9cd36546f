"""Computes what test/golden/dominators.test.ts expects, with nothing of ours: Python's json and networkx.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install networkx==3.6.1
    zstd -dc test/fixtures/gem-ruby200-A.json.zst | /tmp/venv/bin/python test/golden/dominators/make.py |
        zstd -19 > test/golden/dominators/gem-ruby200-A.tsv.zst

One line an object, in the order of the dump: id, immediate dominator, depth, retained count, retained bytes, incoming
references. "-" where there is none: of the root, and of what no root reaches.

What counts as a reference is written anew here, after formats.md: every integer in the record (and every key of the
form __id_N) that is the id of an object of this dump, but for the record's own id and class. The class is an edge too.
"""

import collections
import json
import re
import sys

import networkx

ROOT = "_ROOTS_"


class Pairs(list):
    """An object of the dump: the same key may stand twice, so it is no dict."""


def integers(value):
    """Every integer in a value, in order, the ones that are keys too."""
    if isinstance(value, bool):
        return
    if isinstance(value, int):
        yield value
    elif isinstance(value, Pairs):
        for key, inner in value:
            if match := re.fullmatch(r"__id_(\d+)", key):
                yield int(match[1])
            yield from integers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from integers(inner)


def records(stream):
    for line in stream:
        text = line.decode("utf-8", "surrogateescape").strip()
        if text not in ("", "]"):
            yield json.loads(text.lstrip("[,").rstrip("]") if text.endswith("}]") else text.lstrip("[,"),
                             object_pairs_hook=Pairs, strict=False)


def main():
    candidates, class_of, size_of = {}, {}, {}
    for record in records(sys.stdin.buffer):
        first = dict(reversed(record))
        identity = first["id"]
        candidates[identity] = [n for key, value in record if key not in ("id", "class") for n in integers(value)]
        class_of[identity] = first.get("class")
        size_of[identity] = first.get("size", 0) if first.get("bt") == "T_DATA" else 0

    graph = networkx.DiGraph()
    graph.add_nodes_from(candidates)
    referrers = collections.Counter()
    for identity, found in candidates.items():
        targets = [n for n in found if n in candidates]
        referrers.update(targets)
        if class_of[identity] in candidates:
            targets.append(class_of[identity])
        graph.add_edges_from((identity, target) for target in targets)

    depth = networkx.single_source_shortest_path_length(graph, ROOT)
    dominator = dict(networkx.immediate_dominators(graph, ROOT))
    dominator.pop(ROOT, None)
    tree = networkx.DiGraph((above, below) for below, above in dominator.items())
    count, size = {}, {}
    for node in networkx.dfs_postorder_nodes(tree, ROOT):
        count[node] = 1 + sum(count[child] for child in tree.successors(node))
        size[node] = size_of[node] + sum(size[child] for child in tree.successors(node))
    for node in candidates:
        cells = (node, dominator.get(node, "-"), depth.get(node, "-"), count.get(node, 1),
                 size.get(node, size_of[node]), referrers[node])
        print(*cells, sep="\t")


main()
