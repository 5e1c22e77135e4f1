// The icons of buttons: line drawings, 24 x 24, in the colour of the surrounding text.

const SVG = 'http://www.w3.org/2000/svg';

const PATHS = {
    copy: 'M9 9h10v11H9zM5 15V4h10',
    check: 'M5 12.5l4.5 4.5L19 7',
    again: 'M19 12a7 7 0 1 1-2.2-5.1M19.5 4v4.5H15',
    continue: 'M5 6l7 6-7 6M13 6l7 6-7 6',
    send: 'M12 19V5M6 11l6-6 6 6',
    remove: 'M7 7l10 10M17 7L7 17',
    speak: 'M4 10v4h3.5L12 18V6L7.5 10zM15.5 9a4 4 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11',
    stop: 'M7.5 7.5h9v9h-9z',
    plus: 'M12 5v14M5 12h14',
    more: 'M5.5 12h.01M12 12h.01M18.5 12h.01',
    search: 'M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13zM15.3 15.3L20 20',
    pin: 'M9 4h6l-.7 6 3.2 3.5h-11L9.7 10zM12 13.5V20',
    edit: 'M5 19l.8-3.6L15.6 5.6l2.8 2.8L8.6 18.2zM13.8 7.4l2.8 2.8',
    delete: 'M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7',
    save: 'M12 4v11M7.5 11l4.5 4.5L16.5 11M5 19.5h14',
    load: 'M12 15.5V4.5M7.5 9L12 4.5 16.5 9M5 19.5h14',
    lock: 'M6.5 11h11v8.5h-11zM8.5 11V8a3.5 3.5 0 0 1 7 0v3',
    back: 'M14.5 6l-6 6 6 6',
    next: 'M9.5 6l6 6-6 6',
    close: 'M6.5 6.5l11 11M17.5 6.5l-11 11',
};

export function icon(name) {
    const svg = document.createElementNS(SVG, 'svg');
    const path = document.createElementNS(SVG, 'path');
    svg.setAttribute('viewBox', '0 0 24 24');
    svg.setAttribute('class', `icon icon-${name}`);
    svg.setAttribute('aria-hidden', 'true');
    path.setAttribute('d', PATHS[name]);
    svg.append(path);
    return svg;
}
