import preact from "@preact/preset-vite";
import { defineConfig } from "vitest/config";

export default defineConfig({
  base: "/static/app/",
  plugins: [preact()],
  resolve: { alias: { events: "events/" } }, // else xmlbuilder2 takes node's own, which a browser has not
  worker: { format: "es" },
  build: {
    target: "es2022",
    outDir: "../static/app",
    emptyOutDir: true,
    manifest: "manifest.json",
    assetsInlineLimit: 0, // the policy allows no data: script, and a font or codec is better kept by the browser
    chunkSizeWarningLimit: 9000,
    rollupOptions: { input: "src/main.tsx" },
  },
  test: { include: ["tests/**/*.test.ts"] },
});
