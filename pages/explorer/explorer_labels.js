// What Swagger UI leaves without a name, or out of the keyboard's reach, gets it as it appears.

const LABELS = [
    ['.examples-select select', 'Example'],
    ['select.content-type', 'Media type'],
    ['tr[data-param-name] select', 'Value'],
    ['.body-param textarea', 'Request body'],
    ['.close-modal', 'Close'],
];
const SCROLLED = 'pre.microlight, .highlight-code pre, .curl, .table-container, .opblock-body pre';

function label(root) {
    for (const [selector, name] of LABELS) {
        for (const control of root.querySelectorAll(`:is(${selector}):not([aria-label])`))
            control.setAttribute('aria-label', control.closest('[data-param-name]')?.dataset.paramName ?? name);
    }
    // "Apply given OAuth2 credentials", on a button that says "Authorize".
    root.querySelector('.auth-btn-wrapper [type=submit][aria-label]')?.removeAttribute('aria-label');
    for (const scrolled of root.querySelectorAll(`:is(${SCROLLED}):not([tabindex])`))
        scrolled.tabIndex = 0;
}

/** Looks again whenever something under `root` appears. */
export function keepLabelled(root) {
    new MutationObserver(() => label(root)).observe(root, { childList: true, subtree: true });
}
