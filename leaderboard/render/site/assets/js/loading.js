// Phases' numbers and rows' details: in the page, or, of very many rows, in scripts of parts/ (fetch() does not work from file://).
const loading = (() => {
  const OWN = /^parts\/(rows-\d{3,}|values-[a-z]+)\.js\?[0-9a-f]{8}$/;
  const received = new Map(Object.entries(data.about.parts));
  const asked = new Map();
  let policy = null;

  window.leaderboardPart = (name, json) => received.set(name, JSON.parse(json));

  // A promise of a part; a failed one can be asked for again.
  function load(name) {
    if (received.has(name)) return received.get(name);
    if (!asked.has(name)) {
      asked.set(name, read(name).catch(error => {
        asked.delete(name);
        throw error;
      }));
    }
    return asked.get(name);
  }

  function trusted(address) {
    policy ??= window.trustedTypes?.createPolicy("parts", {
      createScriptURL(url) {
        if (!OWN.test(url)) throw new TypeError(`not a script of this page: ${url}`);
        return url;
      },
    });
    return policy ? policy.createScriptURL(address) : address;
  }

  function read(name) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = trusted(`parts/${name}.js?${data.about.versions[name]}`);
      const failed = () => reject(new Error(`parts/${name}.js could not be read. It belongs beside this page, from the same build.`));
      script.addEventListener("load", () => (received.has(name) ? resolve(received.get(name)) : failed()));
      script.addEventListener("error", failed);
      document.head.append(script);
      script.addEventListener("load", () => script.remove());
    });
  }

  const values = phase => load(`values-${phase}`);

  // The numbers of every row in a phase, at one horizon ("mean" or 1, 2, ...): estimates by metric, the first metric by horizon.
  async function numbers(phase, horizon) {
    if (phase === data.headline() && horizon === "mean") return data.about.headline;
    const tables = Object.entries(await values(phase));
    const at = table => (horizon === "mean" ? table.mean : table.by_horizon[Number(horizon) - 1]);
    return { metrics: Object.fromEntries(tables.map(([name, table]) => [name, at(table)])), by_horizon: tables[0][1].by_horizon.map(([value]) => value) };
  }

  // A row's details, with its estimates by phase, metric and horizon.
  async function details(row, phase) {
    const found = (await load(row.part))[row.id];
    if (!found) throw new Error(`parts/${row.part}.js is of another build than this page.`);
    const series = Object.entries(await values(phase)).map(([name, table]) => [name, table.by_horizon.map(columns => columns.map(column => column[row.index]))]);
    return { ...found, series: Object.fromEntries(series) };
  }

  return { numbers, details };
})();
