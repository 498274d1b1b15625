// Supernodes: nodes that the reader puts together under a name. They are kept in a copy of the page, or in a file for
// `acdc export --supernodes`.

const LONGEST_NAME = 60;

class Supernodes {
  constructor(folding, data, changed) {
    Object.assign(this, { folding, data, changed, unsaved: false });
  }

  put(members, name) {
    const { groups } = this.folding;
    this.leave(members);
    groups.set(name, new Set([...(groups.get(name) ?? []), ...members]));
    this.edited(name);
  }

  leave(members) {
    for (const [name, inside] of this.folding.groups) {
      members.forEach((i) => inside.delete(i));
      if (!inside.size) this.folding.groups.delete(name);
    }
  }

  edited(name) {
    this.unsaved = true;
    this.changed(name);
  }

  // Below the details of what is chosen or marked: a name to put it together under, and what is there already.
  form(members, name) {
    const can = members.filter((i) => !this.folding.nodes[i].always);
    if (!can.length) return [];
    const input = html("input", { type: "text", maxlength: LONGEST_NAME, list: "supernode-names", autocomplete: "off", spellcheck: "false", "aria-label": "Name of the supernode" });
    const names = html("datalist", { id: "supernode-names" }, ...[...this.folding.groups.keys()].map((value) => html("option", { value })));
    const form = html("form", { class: "naming" }, html("label", {}, name === null ? `Supernode of ${can.length === 1 ? "this node" : `these ${can.length} nodes`}` : "Supernode", input), names, html("button", { type: "submit" }, name === null ? "Put together" : "Rename"));
    input.value = name ?? "";
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (input.value.trim()) this.put(can, input.value.trim());
    });
    const out = html("button", { type: "button" }, can.length === 1 ? "Take out" : "Take apart");
    out.addEventListener("click", () => (this.leave(can), this.edited(null)));
    return [form, ...(name === null ? [] : [out])];
  }

  keeping() {
    if (!this.unsaved) return [];
    const page = html("button", { type: "button" }, "Save page"), file = html("button", { type: "button" }, "Download groups.json");
    page.addEventListener("click", () => download(this.page(), "text/html", "attribution.html"));
    file.addEventListener("click", () => download(`${JSON.stringify(this.ids(), null, 1)}\n`, "application/json", "groups.json"));
    return [html("div", { class: "keeping" }, page, " ", file, html("p", { class: "quiet" }, "Supernodes are not in this file yet: save the page, or give groups.json to 'acdc export --supernodes'."))];
  }

  ids() {
    return Object.fromEntries([...this.folding.groups].map(([name, members]) => [name, [...members].map((i) => this.folding.nodes[i].id)]));
  }

  page() {
    const copy = document.documentElement.cloneNode(true);
    copy.removeAttribute("data-theme");
    for (const id of ["graph", "details", "readout", "search-status"]) copy.querySelector(`#${id}`).replaceChildren();
    copy.querySelector("#data").textContent = JSON.stringify({ ...this.data, groups: this.ids() }).replaceAll("<", "\\u003c");
    return `<!DOCTYPE html>\n${copy.outerHTML}\n`;
  }
}

function html(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function download(text, type, name) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  html("a", { href: address, download: name }).click();
  URL.revokeObjectURL(address);
}
