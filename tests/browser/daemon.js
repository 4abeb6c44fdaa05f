// A real daemon over the project's sample footage, on a port of the system's choice.

import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import readline from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PROGRAM = resolve(
  process.env.CLIPSEEK ?? join(process.env.CARGO_TARGET_DIR ?? join(ROOT, "target"), "release/clipseek"),
);
const FOOTAGE = join(ROOT, "tests/fixtures/footage");
const PATIENCE_MS = 120_000;

export class Daemon {
  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), "clipseek-page-"));
    this.footage = join(this.folder, "footage");
    /// Empty, for whoever adds a source.
    this.second = join(this.folder, "second");
    mkdirSync(this.second);
    cpSync(FOOTAGE, this.footage, { recursive: true });
    this.config = join(this.folder, "clipseek.toml");
    // What may be added from the page.
    writeFileSync(
      this.config,
      `[serve]\nadd_folders = ["${this.folder}"]\nadd_schemes = ["rtsp"]\nadd_hosts = ["127.0.0.1"]\n`,
    );
    this.listen = "127.0.0.1:0";
  }

  /// Returns when every file has been looked through.
  async start() {
    const flags = ["--data", join(this.folder, "data"), "--config", this.config];
    this.process = spawn(PROGRAM, [...flags, "serve", "--listen", this.listen, this.footage], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.ended = new Promise((done) => this.process.once("exit", done));
    this.url = await this.#address();
    // Started again it has the same address, as a daemon of one's own has.
    this.listen = this.url.replace("http://", "");
    await this.#indexed();
    return this;
  }

  #address() {
    return new Promise((found, failed) => {
      const said = [];
      readline.createInterface({ input: this.process.stderr }).on("line", (line) => {
        said.push(line);
        const address = /listening on (http:\/\/[\d.]+:\d+)/.exec(line);
        if (address) found(address[1]);
      });
      this.ended.then((code) => failed(new Error(`the daemon ended with ${code}:\n${said.join("\n")}`)));
    });
  }

  async #indexed() {
    const until = Date.now() + PATIENCE_MS;
    while (Date.now() < until) {
      const { media } = await this.get("/v1/media");
      const names = readdirSync(this.footage).filter((name) => !name.endsWith(".json"));
      if (media.length >= names.length && media.every(({ state }) => state !== "pending")) return;
      await new Promise((done) => setTimeout(done, 100));
    }
    throw new Error("the sample footage was not indexed in time");
  }

  async get(path) {
    return (await fetch(this.url + path)).json();
  }

  async kill() {
    this.process.kill("SIGKILL");
    await this.ended;
  }

  async stop() {
    this.process.kill("SIGTERM");
    await this.ended;
    rmSync(this.folder, { recursive: true, force: true });
  }
}
