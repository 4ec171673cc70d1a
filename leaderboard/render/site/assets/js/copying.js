// Buttons that copy a text, and say whether they did.
const copying = (() => {
  const { html } = dom;

  // A button and its answer; `place` shows the text, and without one the answer does where it has to be copied by hand.
  function button(label, purpose, shown, place = null) {
    const said = html("span", { role: "status", class: "soft" });
    const press = async () => {
      if (await written(shown)) return void said.replaceChildren("copied");
      const where = place ?? html("code", { dir: "ltr" }, html("bdi", {}, shown));
      said.replaceChildren("select and copy it by hand", ...(place ? [] : [": ", where]));
      getSelection().selectAllChildren(where);
      if (document.execCommand("copy")) said.replaceChildren("copied");
    };
    return [html("button", { type: "button", "aria-label": purpose, onclick: press }, label), said];
  }

  async function written(shown) {
    try {
      await navigator.clipboard.writeText(shown);
      return true;
    } catch {
      return false;
    }
  }

  const whole = link => location.href.split("#")[0] + link;

  // A link within the page with a button that copies its whole address.
  const link = (name, address) => [html("a", { href: address }, name), " ", ...button("Copy link", `Copy: ${name}`, whole(address))];

  // A text of several lines, as it is shown, with a button.
  function block(purpose, lines) {
    const shown = lines.split("\n").map(line => text.clean(line)).join("\n");
    const place = html("code", { dir: "ltr" }, html("bdi", {}, shown));
    return html("div", { class: "command" }, html("pre", { tabindex: "0", "aria-label": purpose }, place), button("Copy", `Copy: ${purpose}`, shown, place));
  }

  return { button, link, block };
})();
