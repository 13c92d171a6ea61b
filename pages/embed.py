#!/usr/bin/env python3
"""Embeds the pages' files into the program, under names that change with their content.

usage: embed.py OUTPUT.c DEPENDENCIES.d NODE_MODULES DASHBOARD-DIRECTORY EXPLORER-DIRECTORY

A source refers to another file by the text `/assets/NAME.EXT`; here each such text becomes `/assets/NAME.HASH.EXT`. A reference
to a file that is not there, or one that leads back to where it began, is an error. The two index.html are the pages / and /docs.
Swagger UI's style sheet carries its images as data: URLs, which the pages' policy does not let in: they become files of their own.

The bytes stand beside OUTPUT.c and are taken in by the assembler (.incbin), each plain and gzipped. The declarations are in
include/pages.h.
"""
import base64
import gzip
import hashlib
import os
import re
import sys
import urllib.parse

TYPES = {
    'html': 'text/html; charset=utf-8',
    'js': 'text/javascript; charset=utf-8',
    'css': 'text/css; charset=utf-8',
    'svg': 'image/svg+xml',
    'png': 'image/png',
    'jpeg': 'image/jpeg',
}
REFERENCE = re.compile(rb'/assets/([A-Za-z0-9_-]+\.[a-z]+)')
DATA_URL = re.compile(rb'url\("?data:image/(svg\+xml|png|jpeg)(?:;charset=utf-8)?(;base64)?,(.*?)"?\)(?=[\s;,}])', re.S)


def read(*path):
    with open(os.path.join(*path), 'rb') as file:
        return file.read()


def without_data_urls(css, files):
    """The style sheet with its images put into files."""
    def take_out(match):
        kind = match[1].decode().replace('svg+xml', 'svg')
        content = base64.b64decode(match[3]) if match[2] else urllib.parse.unquote_to_bytes(match[3])
        name = f'swagger-{sum(n.startswith("swagger-") for n in files)}.{kind}'
        name = next((n for n, c in files.items() if c == content), name)
        files[name] = content
        return f'url(/assets/{name})'.encode()
    css = DATA_URL.sub(take_out, css)
    if b'data:' in css:
        sys.exit('embed.py: swagger-ui.css has a data: URL that is not an image')
    return css


def collect(modules, dashboard, explorer):
    """(pages: path -> html, files: name -> content, sources: every path that was read)."""
    files, sources = {}, []

    def take(*path):
        sources.append(os.path.join(*path))
        return read(*path)

    swagger, uplot = os.path.join(modules, 'swagger-ui-dist'), os.path.join(modules, 'uplot', 'dist')
    files['swagger-ui.js'] = take(swagger, 'swagger-ui-bundle.js')
    files['swagger-ui.css'] = without_data_urls(take(swagger, 'swagger-ui.css'), files)
    files['uplot.js'] = take(uplot, 'uPlot.iife.min.js') + b'\nexport default uPlot;\n'
    files['uplot.css'] = take(uplot, 'uPlot.min.css')
    pages = {}
    for page, directory in (('/', dashboard), ('/docs', explorer)):
        for name in sorted(os.listdir(directory)):
            content = take(directory, name)
            if name == 'index.html':
                pages[page] = content
            elif name.rpartition('.')[2] in TYPES:
                if name in files:
                    sys.exit(f'embed.py: there are two files {name}')
                files[name] = content
    # A map that is not served would be asked for.
    for name in list(files):
        files[name] = re.sub(rb'\n?//# sourceMappingURL=.*|/\*# sourceMappingURL=.*?\*/', b'', files[name])
    return pages, files, sources


class Namer:
    """Gives each file its final content and name; what it refers to goes first."""

    def __init__(self, files):
        self.files, self.done, self.under_way = files, {}, []

    def resolve(self, content, where):
        def hashed(match):
            name = match[1].decode()
            if name not in self.files:
                sys.exit(f'embed.py: {where} refers to /assets/{name}, which is not there')
            return f'/assets/{self.name(name)[0]}'.encode()
        return REFERENCE.sub(hashed, content)

    def name(self, name):
        if name in self.under_way:
            sys.exit('embed.py: these files refer to each other in a circle: ' + ', '.join(self.under_way))
        if name not in self.done:
            self.under_way.append(name)
            content = self.resolve(self.files[name], name)
            self.under_way.pop()
            stem, _, extension = name.rpartition('.')
            self.done[name] = (f'{stem}.{hashlib.sha256(content).hexdigest()[:12]}.{extension}', content)
        return self.done[name]


def main():
    output, depfile, *directories = sys.argv[1:]
    pages, files, sources = collect(*directories)
    namer = Namer(files)
    rows = [(path, TYPES['html'], namer.resolve(html, path), True) for path, html in sorted(pages.items())]
    for name in sorted(files):
        final, content = namer.name(name)
        rows.append((f'/assets/{final}', TYPES[name.rpartition('.')[2]], content, False))

    blobs = output + '.files'
    os.makedirs(blobs, exist_ok=True)
    data, table = [], []
    for index, (path, kind, content, page) in enumerate(rows):
        packed = gzip.compress(content, 9, mtime=0)
        digest = hashlib.sha256(content).hexdigest()
        for suffix, body in (('', content), ('_gzip', packed)):
            blob = os.path.abspath(os.path.join(blobs, digest + suffix))
            with open(blob, 'wb') as file:
                file.write(body)
            data.append(f'BODY(page_{index}{suffix}, "{blob}")')
        table.append(f'    {{"{path}", "{kind}", "{digest[:32]}", page_{index}, {len(content)}, page_{index}_gzip, {len(packed)}, '
                     f'{"true" if page else "false"}}},')
    with open(output, 'w', encoding='ascii') as file:
        file.write('/* Written by pages/embed.py. */\n#include "pages.h"\n\n'
                   '#define BODY(name, path) \\\n    extern const char name[]; \\\n'
                   '    __asm__(".section .rodata\\n" #name ":\\n.incbin \\"" path "\\"\\n.byte 0\\n.previous\\n");\n\n')
        file.write('\n'.join(data) + '\n\nconst struct page pages[] = {\n' + '\n'.join(table) + '\n};\n'
                   'const size_t pages_count = sizeof pages / sizeof *pages;\n')
    with open(depfile, 'w', encoding='utf-8') as file:
        file.write(f'{output}: ' + ' '.join(source.replace(' ', '\\ ') for source in sources) + '\n')


if __name__ == '__main__':
    main()
