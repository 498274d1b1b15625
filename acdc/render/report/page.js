const { graph, positions, examples, save } = JSON.parse(byId("data").textContent);
listenToTheme();
listenToTables();
const explorer = new Explorer(graph, examples, save);
listenToViews(positions, () => explorer.read());
drawPatterns(examples);
listenToLenses(examples);

// For scripts and tests: what is shown, and a threshold to set.
window.acdc = {
  shown: () => explorer.shown.map((i) => explorer.graph.names[i]),
  kept: (threshold) => {
    const { edges, wires } = explorer.graph.kept(threshold), { graph } = explorer;
    const names = graph.names.filter((_, i) => edges[i]);
    wires.forEach((on, i) => on && names.push(`${graph.readers[graph.wires.r[i]].id}->${graph.writers[graph.wires.w[i]]}`));
    return names;
  },
  // By id of an edge, [3 n + 1 points] of its curve; and the boxes of the nodes that are drawn.
  curves: () => Object.fromEntries([...explorer.diagram.curves].map(([i, points]) => [explorer.graph.names[i], points])),
  boxes: () => [...explorer.diagram.places.nodes.values()],
  paths: (count) => explorer.graph.strongestPaths(explorer.shown, explorer.connected, count).map((edges) => edges.map((i) => explorer.graph.names[i])),
  setThreshold: (threshold) => explorer.setThreshold(threshold),
};
