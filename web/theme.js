// A plain script, not a module: it runs before the first paint, so that a dark page never flashes
// white. The page follows the system until the user chooses otherwise.
(() => {
    const system = matchMedia('(prefers-color-scheme: dark)');
    const root = document.documentElement;

    const chosen = () => {
        try {
            return localStorage.getItem('kinglet.theme');
        } catch {
            return null;
        }
    };
    const apply = () => {
        const theme = chosen() ?? (system.matches ? 'dark' : 'light');
        root.dataset.theme = theme;
        const color = theme === 'dark' ? '#16171a' : '#fbfaf7';
        document.querySelector('meta[name="theme-color"]').content = color;
    };
    apply();
    system.addEventListener('change', apply);

    document.addEventListener('click', ({ target }) => {
        if (!target.closest('#toggle-theme')) return;
        const next = root.dataset.theme === 'dark' ? 'light' : 'dark';
        const usual = system.matches ? 'dark' : 'light';
        try {
            if (next === usual) localStorage.removeItem('kinglet.theme');
            else localStorage.setItem('kinglet.theme', next);
            apply();
        } catch {
            root.dataset.theme = next;
        }
    });
})();
