// The choosers above the table: each shows the address, and changes it.
const controls = (() => {
  const { html } = dom;
  const element = name => document.getElementById(`choose-${name}`);
  const option = (value, label) => html("option", { value }, text.clean(label, 80));
  const FLAG_NAMES = { plain: "neither", greyed: "greyed only", disputed: "disputed only" };
  const SEARCH_WAIT = 150; // milliseconds of rest after a key

  function fillViews() {
    const groups = Map.groupBy ? Map.groupBy(data.about.boards, board => board.environment) : grouped();
    element("view").append(
      ...[...data.across.values()].map(one => option(one.view, `Overall, across environments${data.version(one)}`)),
      option("rows", "Every row of every board"),
      ...[...groups].map(([environment, boards]) => html("optgroup", { label: text.clean(environment, 80) },
        boards.map(board => option(board.id, `${board.dataset}${data.version(board)}`)))));
  }

  function grouped() {
    const groups = new Map();
    for (const board of data.about.boards) groups.set(board.environment, [...(groups.get(board.environment) ?? []), board]);
    return groups;
  }

  function listen(change) {
    fillViews();
    element("horizon").append(...state.HORIZONS.map(h => option(h, h === "mean" ? "mean over horizons" : `h = ${h}`)));
    for (const [name, values] of Object.entries(state.CHOICES)) {
      element(name).append(option("", "any"), ...values.map(value => option(value, FLAG_NAMES[value] && name === "flag" ? FLAG_NAMES[value] : value)));
    }
    element("view").addEventListener("change", () => change({ view: element("view").value, phase: "", sort: state.EMPTY.sort, page: 0, open: [] }));
    for (const name of ["phase", "horizon", ...Object.keys(state.CHOICES)]) {
      element(name).addEventListener("change", () => change({ [name]: element(name).value, page: 1 }));
    }
    let timer;
    element("q").addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => change({ q: element("q").value, page: 1 }, { replace: true }), SEARCH_WAIT);
    });
    document.getElementById("clear").addEventListener("click", () => change({ ...state.EMPTY, view: element("view").value }));
  }

  function draw(view) {
    const { now } = view;
    element("phase").replaceChildren(...data.phasesOf(data.boards.get(now.view)).map(phase => option(phase, text.capital(phase))));
    for (const name of ["view", "phase", "horizon", ...Object.keys(state.CHOICES)]) element(name).value = now[name];
    if (document.activeElement !== element("q")) element("q").value = now.q;
    for (const name of ["phase", "horizon", "device"]) {
      const useless = data.across.has(now.view); // entries across environments have one number, and no single device
      element(name).disabled = useless;
      element(name).closest("label").hidden = useless;
    }
  }

  return { listen, draw };
})();
