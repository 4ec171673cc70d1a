// Light, dark, or as the system has it; remembered where the browser lets a page remember.
const theme = (() => {
  const KINDS = ["system", "light", "dark"];
  const KEY = "tipl-bench-theme";
  const button = document.getElementById("theme");

  function apply(kind) {
    if (kind === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = kind;
    button.textContent = `Theme: ${kind}`;
    button.dataset.kind = kind;
  }

  function remembered() {
    try {
      const kind = localStorage.getItem(KEY);
      return KINDS.includes(kind) ? kind : "system";
    } catch {
      return "system";
    }
  }

  button.addEventListener("click", () => {
    const kind = KINDS[(KINDS.indexOf(button.dataset.kind) + 1) % KINDS.length];
    apply(kind);
    try {
      localStorage.setItem(KEY, kind);
    } catch { /* the choice holds for this visit */ }
  });
  apply(remembered());
})();
