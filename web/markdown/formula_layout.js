// KaTeX writes MathML 3; browsers draw MathML Core, which has left out the letters of other alphabets
// and the columns of tables. Both are put in their place here.

// first code points of A, a, 0 in "Mathematical Alphanumeric Symbols"; 0: there are none
const ALPHABETS = {
    bold: [0x1d400, 0x1d41a, 0x1d7ce],
    italic: [0x1d434, 0x1d44e, 0],
    'bold-italic': [0x1d468, 0x1d482, 0],
    script: [0x1d49c, 0x1d4b6, 0],
    'bold-script': [0x1d4d0, 0x1d4ea, 0],
    fraktur: [0x1d504, 0x1d51e, 0],
    'bold-fraktur': [0x1d56c, 0x1d586, 0],
    'double-struck': [0x1d538, 0x1d552, 0x1d7d8],
    'sans-serif': [0x1d5a0, 0x1d5ba, 0x1d7e2],
    'bold-sans-serif': [0x1d5d4, 0x1d5ee, 0x1d7ec],
    'sans-serif-italic': [0x1d608, 0x1d622, 0],
    'sans-serif-bold-italic': [0x1d63c, 0x1d656, 0],
    monospace: [0x1d670, 0x1d68a, 0x1d7f6],
};
// letters that Unicode had before, in pairs
const OLDER = {
    italic: 'hℎ',
    script: 'BℬEℰFℱHℋIℐLℒMℳRℛeℯgℊoℴ',
    fraktur: 'CℭHℌIℑRℜZℨ',
    'double-struck': 'CℂHℍNℕPℙQℚRℝZℤ',
};

function letter(char, variant) {
    const older = OLDER[variant] ?? '';
    const at = older.indexOf(char);
    if (at >= 0 && at % 2 === 0) return older[at + 1];
    const [upper, lower, digits] = ALPHABETS[variant];
    const code = char.codePointAt(0);
    if (char >= 'A' && char <= 'Z') return String.fromCodePoint(upper + code - 65);
    if (char >= 'a' && char <= 'z') return String.fromCodePoint(lower + code - 97);
    if (char >= '0' && char <= '9' && digits) return String.fromCodePoint(digits + code - 48);
    return char;
}

/** Changes MathML of KaTeX so that browsers draw what it means. */
export function adaptFormula(math) {
    for (const node of math.querySelectorAll(':is(mi, mn, mo)[mathvariant]')) {
        const variant = node.getAttribute('mathvariant');
        if (!(variant in ALPHABETS)) continue;
        node.textContent = Array.from(node.textContent, (char) => letter(char, variant)).join('');
        node.removeAttribute('mathvariant');
    }
    // KaTeX means its sizes from the text's, browsers that of the element around: \Huge\Huge would explode
    for (const node of math.querySelectorAll('[mathsize] [mathsize]')) node.removeAttribute('mathsize');
    for (const table of math.querySelectorAll('mtable[columnalign]')) {
        const sides = table.getAttribute('columnalign').split(' ');
        const gaps = (table.getAttribute('columnspacing') ?? '1em').split(' ');
        for (const row of table.children) {
            [...row.children].forEach((cell, i) => {
                const side = sides[Math.min(i, sides.length - 1)];
                cell.classList.add(`to-${side === 'left' || side === 'right' ? side : 'center'}`);
                if (i > 0 && parseFloat(gaps[Math.min(i, gaps.length) - 1]) >= 0.5) cell.classList.add('apart');
            });
        }
    }
}
