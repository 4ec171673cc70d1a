// What is read on demand: scripts of board/, as fetch() does not work from file://.
const loading = (() => {
  const OWN = /^board\/(rows-\d{3,}|phase-[a-z]+(-h\d+)?)\.js\?[0-9a-f]{8}$/;
  const policy = window.trustedTypes?.createPolicy("board", {
    createScriptURL(address) {
      if (!OWN.test(address)) throw new TypeError(`not a script of this page: ${address}`);
      return address;
    },
  });
  const received = new Map();
  const asked = new Map();

  window.tiplBoard = (name, json) => received.set(name, JSON.parse(json));

  // A promise of what a script holds; a failed one can be asked for again.
  function load(name) {
    if (!asked.has(name)) {
      asked.set(name, read(name).catch(error => {
        asked.delete(name);
        throw error;
      }));
    }
    return asked.get(name);
  }

  function read(name) {
    return new Promise((resolve, reject) => {
      const address = `board/${name}.js?${data.about.scripts[name]}`;
      const script = document.createElement("script");
      script.src = policy ? policy.createScriptURL(address) : address;
      const failed = () => reject(new Error(`board/${name}.js could not be read. It belongs beside this page, from the same build.`));
      script.addEventListener("load", () => (received.has(name) ? resolve(received.get(name)) : failed()));
      script.addEventListener("error", failed);
      document.head.append(script);
      script.addEventListener("load", () => script.remove());
    });
  }

  // The numbers of every row in a phase, at one horizon ("mean" or 1, 2, ...): skill, REPW and skill by horizon.
  async function numbers(phase, horizon) {
    const whole = phase === data.headline ? data.about.headline : await load(`phase-${phase}`);
    if (horizon === "mean") return whole;
    return { ...(await load(`phase-${phase}-h${horizon}`)), at: whole.at };
  }

  async function details(row) {
    const found = (await load(row.chunk))[row.id];
    if (!found) throw new Error(`board/${row.chunk}.js is of another build than this page.`);
    return found;
  }

  return { numbers, details };
})();
