import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

const OUTPUT = "../gateway/console";
const COMPRESSIBLE = /\.(css|html|js|json|md|svg)$/;

/** Write `file.br` and `file.gz` beside each text file, so that the gateway does not compress at run time. */
function compression(): Plugin {
  return {
    name: "compression",
    apply: "build",
    closeBundle() {
      for (const entry of readdirSync(OUTPUT, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || !COMPRESSIBLE.test(entry.name)) continue;
        const path = join(entry.parentPath, entry.name);
        const content = readFileSync(path);
        writeFileSync(`${path}.gz`, gzipSync(content, { level: 9 }));
        writeFileSync(`${path}.br`, brotliCompressSync(content, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }));
      }
    },
  };
}

export default defineConfig({
  base: "/ui/",
  plugins: [compression()],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: OUTPUT,
    emptyOutDir: true,
    assetsInlineLimit: 0, // because the page's content security policy forbids inline scripts
    cssCodeSplit: false,
    license: { fileName: "licenses.md" },
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        hashCharacters: "hex", // the gateway recognizes hexadecimal hashes in file names
        codeSplitting: {
          groups: [{ name: "shared", test: /src\/(api|components|format|live|router)\//, minShareCount: 2 }],
        },
      },
    },
    target: "baseline-widely-available",
  },
  server: { proxy: { "/api": process.env.HEADRACE_URL ?? "http://127.0.0.1:8080" } },
});
