#!/usr/bin/env python3
"""Writes the OpenAPI document as C: the YAML byte for byte, and the same document as compact JSON.

usage: embed.py openapi.yaml output.c

The declarations are in include/openapi_document.h.
"""
import json
import re
import sys

import yaml


class Loader(yaml.SafeLoader):
    """YAML 1.2's idea of a scalar: dates stay text, only true and false are booleans; a key must not repeat."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f'the key {key!r} stands twice', node.start_mark)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f'the key {key!r} is not text', node.start_mark)
        return super().construct_mapping(node, deep)


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in ('tag:yaml.org,2002:timestamp', 'tag:yaml.org,2002:bool')]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver('tag:yaml.org,2002:bool', re.compile('^(?:true|false)$'), list('tf'))

ESCAPES = {0x22: '\\"', 0x5C: '\\\\', 0x0A: '\\n', 0x3F: '\\?'}  # \? keeps trigraphs out


def c_literals(content, width=96):
    """The bytes as string literals, one a line. Octal escapes have three digits, so none runs into the next byte."""
    line = ''
    for byte in content:
        line += ESCAPES.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f'\\{byte:03o}')
        if byte == 0x0A or len(line) >= width:
            yield f'    "{line}"'
            line = ''
    if line:
        yield f'    "{line}"'


def definition(name, content):
    return '\n'.join([f'const char {name}[] =', *c_literals(content)]) + f';\nconst size_t {name}_len = {len(content)};\n'


def main():
    source, output = sys.argv[1:]
    with open(source, 'rb') as file:
        text = file.read()
    document = json.dumps(yaml.load(text, Loader), ensure_ascii=False, separators=(',', ':'), allow_nan=False)
    with open(output, 'w', encoding='ascii') as file:
        file.write('/* Written by openapi/embed.py from openapi/openapi.yaml. */\n#include "openapi_document.h"\n\n')
        file.write(definition('openapi_yaml', text) + '\n' + definition('openapi_json', document.encode()))


if __name__ == '__main__':
    main()
