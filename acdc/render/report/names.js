// Names and roles that the reader gives to components: edited beside the diagram, then downloaded or, of a page that is
// served, saved in the run.

const LONGEST_NAME = 40;

class NameEditor {
  constructor(data, save, changed) {
    Object.assign(this, { data, save, changed, unsaved: false });
    this.own = { names: { ...data.names }, roles: { ...data.given } };
  }

  // An empty text takes back what the reader gave; then a role is again what verification hints at.
  set(kind, id, text) {
    const shown = this.data[kind], said = text.trim().slice(0, LONGEST_NAME), hinted = kind === "roles" ? this.data.hinted[id] : undefined;
    if (said) this.own[kind][id] = shown[id] = said;
    else {
      delete this.own[kind][id];
      hinted === undefined ? delete shown[id] : (shown[id] = hinted);
    }
  }

  form(id) {
    const field = (kind, label) => {
      const input = make("input", { type: "text", maxlength: LONGEST_NAME, autocomplete: "off", spellcheck: "false", "data-names": kind });
      input.value = this.own[kind][id] ?? "";
      if (kind === "roles") input.placeholder = this.data.hinted[id] ?? "";
      return make("label", {}, label, input);
    };
    const fields = [field("names", "Name"), ...(headOf(id) < 0 ? [] : [field("roles", "Role")])];
    const form = make("form", { class: "naming", method: "post" }, ...fields, make("button", { type: "submit" }, "Apply"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      for (const input of form.querySelectorAll("input")) this.set(input.dataset.names, id, input.value);
      this.unsaved = true;
      this.changed();
    });
    return [make("details", { class: "names", ...(this.unsaved ? { open: "" } : {}) }, make("summary", {}, "Name and role"), form, ...this.keeping())];
  }

  // How what was edited is kept; nothing before there is something.
  keeping() {
    if (!this.unsaved) return [];
    if (this.save) {
      const text = make("input", { type: "hidden", name: "names" }), send = make("button", { type: "submit" }, "Save in the run");
      text.value = this.file();
      return [make("form", { method: "post", action: this.save, class: "keeping" }, text, send, make("p", { class: "quiet" }, "Not saved yet."))];
    }
    const button = make("button", { type: "button" }, "Download names.json");
    button.addEventListener("click", () => this.download());
    return [make("div", { class: "keeping" }, button, make("p", { class: "quiet" }, "Not in the file yet: put names.json into the run's folder, and 'acdc open' shows it in every page and picture. 'acdc open --serve' saves it by itself."))];
  }

  file() {
    const sorted = (texts) => Object.fromEntries(Object.entries(texts).sort(([a], [b]) => (a < b ? -1 : 1)));
    return `${JSON.stringify({ names: sorted(this.own.names), roles: sorted(this.own.roles) }, null, 1)}\n`;
  }

  download() {
    const address = URL.createObjectURL(new Blob([this.file()], { type: "application/json" }));
    make("a", { href: address, download: "names.json" }).click();
    URL.revokeObjectURL(address);
  }
}
