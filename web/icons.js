// The icons of buttons: line drawings, 24 x 24, in the colour of the surrounding text.

const SVG = 'http://www.w3.org/2000/svg';

const PATHS = {
    copy: 'M9 9h10v11H9zM5 15V4h10',
    check: 'M5 12.5l4.5 4.5L19 7',
    again: 'M19 12a7 7 0 1 1-2.2-5.1M19.5 4v4.5H15',
    send: 'M12 19V5M6 11l6-6 6 6',
    stop: 'M7.5 7.5h9v9h-9z',
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
