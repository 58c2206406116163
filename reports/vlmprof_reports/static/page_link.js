// Links to what is shown: the fragment of the page's address names a section and its state.

const SETTLE_MS = 350;

// `sections`: name -> { state(): object of strings, restore(object) }.
export class PageLink {
  constructor(sections) {
    this.sections = sections;
    this.started = false;
    addEventListener("hashchange", () => this.follow());
  }

  start() {
    this.follow().then(() => (this.started = true));
  }

  // Goes where the address says; an address without a state is an ordinary link to a section.
  async follow() {
    const [name, query] = location.hash.slice(1).split("?");
    const section = this.sections[name];
    if (!section || query === undefined) return;
    document.getElementById(name)?.scrollIntoView();
    await section.restore(Object.fromEntries(new URLSearchParams(query)));
  }

  // Writes a section's state into the address once it has settled: browsers refuse to do so for each frame.
  changed(name) {
    if (!this.started) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => history.replaceState(null, "", this.address(name)), SETTLE_MS);
  }

  address(name) {
    const state = Object.entries(this.sections[name].state()).filter(([, value]) => value !== "" && value != null);
    return `#${name}?${new URLSearchParams(state)}`;
  }

  // The link goes to the address bar, and where the browser allows it to the clipboard.
  async copy(name, button) {
    clearTimeout(this.timer);
    history.replaceState(null, "", this.address(name));
    const copied = await navigator.clipboard?.writeText(location.href).then(
      () => true,
      () => false,
    );
    const text = button.textContent;
    button.textContent = copied ? "Copied" : "In the address bar";
    setTimeout(() => (button.textContent = text), 1600);
  }
}
