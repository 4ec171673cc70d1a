// The view: all of it is in the address after #, so that it can be shared and revisited.
const state = (() => {
  const HORIZONS = ["mean", ...Array.from({ length: data.about.horizons }, (_, index) => String(index + 1))];
  const STATES = ["not confirmed", "claimed", "rescored", "reproduced", "confirmed"];
  const FLAGS = ["plain", "greyed", "disputed"];
  const values = name => [...new Set(data.rows.map(row => row[name]))].sort();
  const CHOICES = { consumes: values("consumes"), budget: values("budget"), device: values("device"), state: STATES, flag: FLAGS };

  const firstView = data.across.get("overall")?.environments.length > 1 ? "overall" : data.about.boards[0]?.id ?? "rows";
  const EMPTY = { view: firstView, phase: "", horizon: "mean", consumes: "", budget: "", device: "", state: "", flag: "", q: "", sort: "rank", page: 0, open: [], run: [], compare: [] };
  const LISTS = ["open", "run", "compare"]; // rows that are open, those of the training track, two rows side by side

  const knownView = view => view === "rows" || data.across.has(view) || data.boards.has(view);

  // A row's own address: the dataset, or the track and its environment, and its name there.
  const slug = name => name.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 40);
  const without = (id, prefix) => (id.startsWith(prefix) ? id.slice(prefix.length) : id);
  function anchor(row) {
    if (row.training) return `training/${row.training}/${without(row.id, `${row.training}__`).replace(/__test$/, "")}`;
    return row.overall ? `overall/${without(row.id, "overall-")}` : `${row.board.dataset}/${without(row.id, `${slug(row.board.dataset)}-`)}`;
  }
  const anchors = new Map([...data.runs, ...data.entries, ...data.rows].map(row => [anchor(row), row]));
  const encoded = name => name.split("/").map(part => encodeURIComponent(part.toWellFormed()).replaceAll("%2B", "+")).join("/");

  function decoded(hash) {
    try {
      return decodeURIComponent(hash);
    } catch {
      return hash;
    }
  }

  // The table that a row stands in: two rows of one are compared.
  const tableOf = row => (row.training ? `training/${row.training}` : row.overall || row.board.id);

  // Parses an address; unknown parts are ignored.
  function parse(hash) {
    const named = anchors.get(decoded(hash.replace(/^#/, "")));
    const parameters = named ? new URLSearchParams([[named.training ? "run" : "open", named.id]]) : new URLSearchParams(hash.replace(/^#/, ""));
    const rowsOf = name => [...new Set(parameters.getAll(name))].filter(id => data.byId.has(id) && (name === "compare" || Boolean(data.byId.get(id).training) === (name === "run")));
    const one = (name, known) => (known.includes(parameters.get(name)) ? parameters.get(name) : EMPTY[name]);
    const now = { ...EMPTY, q: (parameters.get("q") ?? "").slice(0, 200), open: rowsOf("open").slice(0, 20), run: rowsOf("run").slice(0, 20), compare: rowsOf("compare").slice(0, 2) };
    now.view = knownView(parameters.get("view")) ? parameters.get("view") : viewOf(now.open[0] ?? now.compare[0]);
    const tables = now.compare.map(id => tableOf(data.byId.get(id)));
    if (tables.some(one => one !== tables[0] || (!one.startsWith("training/") && one !== now.view))) now.compare = [];
    const phases = data.phasesOf(data.boards.get(now.view));
    now.phase = data.across.has(now.view) || !phases.includes(parameters.get("phase")) ? data.headline(data.boards.get(now.view)) : parameters.get("phase");
    now.horizon = data.across.has(now.view) ? "mean" : one("horizon", HORIZONS);
    for (const name of Object.keys(CHOICES)) now[name] = one(name, CHOICES[name]);
    now.sort = /^-?[a-z0-9_]{1,60}$/.test(parameters.get("sort") ?? "") ? parameters.get("sort") : EMPTY.sort;
    now.page = Math.max(0, Math.min(1e6, Number.parseInt(parameters.get("page") ?? "0", 10) || 0));
    return now;
  }

  // A row's address needs no view: its own board is meant.
  function viewOf(id) {
    const row = id && data.byId.get(id);
    if (!row || row.training) return firstView;
    return row.overall || row.board.id;
  }

  function address(now) {
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(now)) {
      if (LISTS.includes(name) || value === EMPTY[name] || (name === "phase" && value === data.headline(data.boards.get(now.view)))) continue;
      parameters.set(name, value);
    }
    for (const name of LISTS) for (const id of now[name]) parameters.append(name, id);
    return "#" + parameters.toString();
  }

  const link = changes => address({ ...EMPTY, ...changes });
  const rowLink = row => (anchors.get(anchor(row)) === row ? `#${encoded(anchor(row))}` : link(row.training ? { run: [row.id] } : { view: tableOf(row), open: [row.id] }));

  return { parse, address, link, rowLink, EMPTY, HORIZONS, CHOICES };
})();
