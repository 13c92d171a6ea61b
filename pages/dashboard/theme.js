// theme.js - auto, light or dark, before the first paint: the one script that is not a module and so runs before the page is drawn.
// The choice is kept in localStorage; where that is forbidden, the choice lasts as long as the page.

(() => {
    const CHOICES = ['auto', 'light', 'dark'];
    const KEY = 'telemetryd.theme';
    let choice = 'auto';
    try {
        choice = localStorage.getItem(KEY) ?? 'auto';
    } catch {
        // No storage: auto.
    }
    if (!CHOICES.includes(choice))
        choice = 'auto';

    function apply() {
        if (choice === 'auto')
            delete document.documentElement.dataset.theme;
        else
            document.documentElement.dataset.theme = choice;
    }

    apply();
    addEventListener('DOMContentLoaded', () => {
        const button = document.getElementById('theme');
        button.lastChild.textContent = choice;
        button.addEventListener('click', () => {
            choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
            button.lastChild.textContent = choice;
            apply();
            try {
                localStorage.setItem(KEY, choice);
            } catch {
                // No storage.
            }
            document.dispatchEvent(new Event('themechange')); // canvases are not drawn by CSS
        });
    });
})();
