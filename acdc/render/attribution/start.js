listenToTheme();
listenToTables();
listenToView();
listenToControls();
first();
setLinks(FIRST_LINKS);
fit();
details();

// For scripts and tests: what is shown, folded and chosen, and what the controls set.
window.acdc = {
  nodes: () => folded.boxes.filter((box) => box.name === null && !box.folded).map((box) => one(box).id),
  folded: () => folded.boxes.filter((box) => box.folded).map((box) => [text(box), box.members.map((i) => nodes[i].id)]),
  links: () => shownLinks().map(({ from, to, weight }) => [folded.boxes[from].key, folded.boxes[to].key, weight]),
  groups: () => supernodes.ids(),
  choose: (id) => chooseNode(nodes.findIndex((node) => node.id === id)),
  setCount: (count) => (setCount(count), showCount()),
  setLinks,
};
