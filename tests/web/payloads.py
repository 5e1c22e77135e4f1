"""Markup that tries to run a script, to load a resource, or to imitate a part of the page. A script
that runs sets window.ran."""

PAYLOADS = r"""
<script>window.ran=1</script>
<ScRiPt>window.ran=1</sCrIpT>
<script src=data:text/javascript,window.ran=1></script>
<script/x>window.ran=1</script>
<<script>window.ran=1;//<</script>
<script>window.ran=1
<script type=module>window.ran=1</script>
<img src=x onerror=window.ran=1>
<img src=x onerror="window.ran=1"//
<img src="x` `<script>window.ran=1</script>"` `>
<img/src=x/onerror=window.ran=1>
<img src=x:x onerror&#61;window.ran=1 onerror=window.ran=1>
<image src=x onerror=window.ran=1>
<svg onload=window.ran=1>
<svg><script>window.ran=1</script></svg>
<svg><animate onbegin=window.ran=1 attributeName=x dur=1s>
<svg><a><animate attributeName=href values=javascript:window.ran=1 /><text y=20>x</text></a>
<svg><style><img src=x onerror=window.ran=1></style></svg>
<svg><foreignObject><iframe srcdoc="<script>parent.ran=1</script>"></iframe></foreignObject></svg>
<svg></p><style><a id="</style><img src=1 onerror=window.ran=1>">
<svg><desc><table><thead><s></table></s><g title="</desc><img src=x onerror=window.ran=1>"></g>
<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=window.ran=1&gt;">
<math><mi//xlink:href="data:x,<script>window.ran=1</script>">
<form><math><mtext></form><form><mglyph><style></math><img src onerror=window.ran=1>
<math href="javascript:window.ran=1">x</math>
<noscript><p title="</noscript><img src=x onerror=window.ran=1>">
<template><script>window.ran=1</script></template>
<template shadowrootmode=open><img src=x onerror=window.ran=1></template>
<iframe src="javascript:parent.ran=1"></iframe>
<iframe srcdoc="<script>parent.ran=1</script>"></iframe>
<iframe/onload=window.ran=1></iframe>
<embed src="data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' onload='parent.ran=1'/>">
<object data="javascript:window.ran=1"></object>
<video><source onerror=window.ran=1></video>
<video src=x onerror=window.ran=1></video>
<audio src=x onerror=window.ran=1>
<details open ontoggle=window.ran=1><summary>x</summary></details>
<input autofocus onfocus=window.ran=1>
<select autofocus onfocus=window.ran=1></select>
<textarea autofocus onfocus=window.ran=1></textarea>
<keygen autofocus onfocus=window.ran=1>
<body onload=window.ran=1>
<body onpageshow=window.ran=1>
<marquee onstart=window.ran=1>x</marquee>
<div style="animation-name:x" onanimationstart=window.ran=1>x</div>
<style>@keyframes x{}</style><xss style="animation-name:x" onanimationstart=window.ran=1></xss>
<style>@import 'data:text/css,*{display:none}';</style>
<style>#composer{display:none}</style>
<link rel=stylesheet href=data:text/css,*{display:none}>
<link rel=import href="data:text/html,<script>window.ran=1</script>">
<meta http-equiv=refresh content="0;url=javascript:window.ran=1">
<base href="javascript:/window.ran=1//">
<a href="javascript:window.ran=1" class=attack>x</a>
<a href="JaVaScRiPt:window.ran=1" class=attack>x</a>
<a href="java&#10;script:window.ran=1" class=attack>x</a>
<a href="&#1;javascript:window.ran=1" class=attack>x</a>
<a href="vbscript:window.ran=1" class=attack>x</a>
<a href="data:text/html,<script>window.ran=1</script>" class=attack>x</a>
<a href=x onclick=window.ran=1 class=attack>x</a>
<a href="https://example.com" onmouseover=window.ran=1 style="position:fixed;inset:0">x</a>
<form action="javascript:window.ran=1"><button class=attack>x</button></form>
<button formaction="javascript:window.ran=1" form=composer class=attack>x</button>
<input type=image src=x onerror=window.ran=1>
<isindex type=image src=1 onerror=window.ran=1>
<p id=log>taken over</p><p id=send name=message>taken over</p>
<form id=composer><input name=attributes><input name=nodeName></form>
<form><input name=parentNode><input name=textContent><img src=x onerror=window.ran=1></form>
<dialog open class=failure>enter your key<input type=password></dialog>
<div class="failure user bubble offscreen">dressed up</div>
<u onclick=window.ran=1 class=attack>x</u>
<kbd style="background:url(https://example.com/x)">x</kbd>
<!--><img src=x onerror=window.ran=1>-->
<![CDATA[<img src=x onerror=window.ran=1>]]>
<?xml version="1.0"?><img src=x onerror=window.ran=1>
</div></article></main><script>window.ran=1</script>
[x](javascript:window.ran=1)
[x](JAVASCRIPT:window.ran=1)
[x](javascript&colon;window.ran=1)
[x](javascript&#58;window.ran=1)
[x](&#x6A&#x61&#x76&#x61&#x73&#x63&#x72&#x69&#x70&#x74&#x3A;window.ran=1)
[x](<javascript:window.ran=1>)
[x](java%0ascript:window.ran=1)
[x](data:text/html;base64,PHNjcmlwdD53aW5kb3cucmFuPTE8L3NjcmlwdD4=)
[x](vbscript:window.ran=1)
[x](https://example.com"onmouseover="window.ran=1)
[x](https://example.com "x" onmouseover="window.ran=1")
[x]: javascript:window.ran=1
[x][y] [y]: javascript:window.ran=1
<javascript:window.ran=1>
![x](javascript:window.ran=1)
![x](x"onerror="window.ran=1)
![x](https://example.com/seen.png)
![x"onerror="window.ran=1](https://example.com/seen.png)
[![x](x)](javascript:window.ran=1)
`<img src=x onerror=window.ran=1>`
**<img src=x onerror=window.ran=1>**
**注意：<img src=x onerror=window.ran=1>**
- <img src=x onerror=window.ran=1>
> <script>window.ran=1</script>
| <img src=x onerror=window.ran=1> | b |
https://example.com/"><img/src=x/onerror=window.ran=1>
""".strip().split("\n")

PAYLOADS += [
    "```html\n<img src=x onerror=window.ran=1>\n```",
    '```"><img/src=x/onerror=window.ran=1>\ncode\n```',
    "```python\" onmouseover=window.ran=1 x=\"\nprint()\n```",
    "```xml\n</code></pre><script>window.ran=1</script>\n```",
    "| a | b |\n|---|---|\n| <img src=x onerror=window.ran=1> | `</td><script>window.ran=1</script>` |",
    "<div>\n\n<img src=x onerror=window.ran=1>\n\n</div>",
    "<br onload=window.ran=1><br/onclick=window.ran=1><sub onclick=window.ran=1>x</sub>",
    "[x][evil]\n\n[evil]: javascript:window.ran=1 'title'",
    "x\n\n    <img src=x onerror=window.ran=1>",
    "1. a\n\n   <script>window.ran=1</script>",
    "<p title='\ue009<img src=x onerror=window.ran=1>'>\ue009<img src=x onerror=window.ran=1>",
]

# Formulas that try the same, or to take up the page, or to keep the browser busy.
FORMULAS = r"""
\(\href{javascript:window.ran=1}{x}\)
\(\href{https://example.com/}{x}\)
\(\url{javascript:window.ran=1}\)
\(\includegraphics[height=1em]{https://example.com/seen.png}\)
\(\includegraphics{x" onerror="window.ran=1}\)
\(\includegraphics[alt=<img src=x onerror=window.ran=1>]{x}\)
\(\htmlClass{failure bubble}{x}\)
\(\htmlId{send}{x}\)
\(\htmlStyle{position:fixed;inset:0}{x}\)
\(\htmlData{x=1, onclick=window.ran=1}{x}\)
\(\text{<img src=x onerror=window.ran=1>}\)
\(\text{&lt;img src=x onerror=window.ran=1&gt;}\)
\(<script>window.ran=1</script>\)
\(x</annotation></semantics></math><img src=x onerror=window.ran=1>\)
\(x</math><script>window.ran=1</script>\)
\(<annotation-xml encoding="text/html"><img src=x onerror=window.ran=1></annotation-xml>\)
\(<mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=window.ran=1&gt;">\)
\(<maction actiontype="statusline" xlink:href="javascript:window.ran=1">x</maction>\)
\(\unicode{x3c}img src=x onerror=window.ran=1\unicode{x3e}\)
\(\char"3C script\char"3E\)
\(\verb|<script>window.ran=1</script>|\)
\(\operatorname{<svg onload=window.ran=1>}\)
\[x \tag{<img src=x onerror=window.ran=1>}\]
\(\color{red;background:url(https://example.com/)}x\)
\(\color{#fff" onclick="window.ran=1}x\)
\(\textcolor{expression(window.ran=1)}{x}\)
\(\fcolorbox{red}{url(https://example.com/)}{x}\)
\(\rule{99999em}{99999em}\)
\(\rule{1e99em}{-1e99em}\)
\(\kern-9999em\rule{9em}{9em}x\)
\(\hspace{-500em}\text{enter your key}\)
\(\raisebox{9999em}{x}\raisebox{-9999em}{\rule{9em}{9em}}\)
\(\llap{\Huge\text{Send}}\rlap{\rule{20em}{20em}}\smash{\rule{20em}{20em}}\)
\[\begin{array}{c}x\\[9999em]y\end{array}\]
\(\def\a{\a\a}\a\)
\(\def\a#1{#1#1}\a{\a{\a{\a{\a{\a{\a{\a{\a{\a{\a{\a{\a{\a{\a{\a{x}}}}}}}}}}}}}}}}\)
\(\edef\a{xx}\edef\a{\a\a}\edef\a{\a\a}\edef\a{\a\a}\edef\a{\a\a}\a\)
\(\newcommand{\a}[1]{#1#1#1#1}\a{\a{\a{\a{\a{\a{\a{\a{\a{\a{x}}}}}}}}}}\)
\(\renewcommand\frac[2]{\frac{#1}{#2}\frac{#1}{#2}}\frac12\)
\(\let\x\x\x\) \(\futurelet\a\b\c\) \(\global\def\text{taken over}\)
\(\expandafter\def\csname a\endcsname{\a}\a\)
\(\gdef\frac#1#2{taken over}\) then \(\frac{1}{2}\)
\(x⁽⁽⁽⁽⁽⁽⁽⁽⁽⁽⁽⁽⁾⁾⁾⁾⁾⁾⁾⁾⁾⁾⁾⁾₁₂₃⁴⁵⁶₇₈₉\)
\(\input{/etc/passwd}\write18{id}\immediate\catcode`\$=12\)
\(\@firstoftwo{\@undefined}{x}\@ifnextchar x{y}{z}\)
$$\href{javascript:window.ran=1}{\text{click}}$$
$$$$$$$$$$ \(\(\(\( \[\[\[\[ \)\)\]\] $$\)$$
\[ <img src=x onerror=window.ran=1> $$ \( \) \]
**\(<b onclick=window.ran=1>\)** [\(x\)](javascript:window.ran=1)
| \(<img src=x onerror=window.ran=1>\) | b |
""".strip().split("\n")

FORMULAS += [
    "\\(" + "{" * 900 + "x" + "}" * 900 + "\\)",
    "\\(" + "\\sqrt{" * 200 + "x" + "}" * 200 + "\\)",
    "\\(" + "\\frac{1}{" * 200 + "x" + "}" * 200 + "\\)",
    "\\(" + "\\sqrt" * 300 + "x\\)",
    "\\(" + "x^{" * 300 + "x" + "}" * 300 + "\\)",
    "\\(" + "\\left(" * 150 + "x" + "\\right)" * 150 + "\\)",
    "\\[" + "\\begin{matrix}" * 60 + "x" + "\\end{matrix}" * 60 + "\\]",
    "\\[\\begin{matrix}" + "&" * 1900 + "\\end{matrix}\\]",
    "\\[\\begin{array}{" + "c|" * 900 + "}x\\end{array}\\]",
    "\\(" + "\\rule{9em}{9em}" * 130 + "\\)",
    "\\(" + "\\Huge " * 300 + "x\\)",
    "\\(" + "\\Huge " * 30 + "x\\)",
    "\\(" + "\\color{red}" * 150 + "x\\)",
    "\\(" + "\\frac1" * 300 + "x\\)",
    "\\(" + "\\sqrt{" * 40 + "x" + "}" * 40 + "\\)",
    "\\(" + "\\frac{1}{" * 22 + "x" + "}" * 22 + "\\)",
    "\\[" + "\\begin{matrix}" * 12 + "x" + "\\end{matrix}" * 12 + "\\]",
    "\\(" + "\\left(\\frac{" * 16 + "x" + "}2\\right)" * 16 + "\\)",
    "\\(" + "x" * 100_000 + "\\)",
    "\\(" * 5000,
    "$$" * 5000 + "x",
    "\\[\n" + "- x\n" * 50 + "\\]",
    "\\(\ue00a\\) \\(\ue009\\) \\(\u202e\u2066abc\\) \\(a\u0300\u0301\u0302\u0303\\)",
    "```\n\\(\\href{javascript:window.ran=1}{x}\\)\n```",
]

PAYLOADS += FORMULAS
