//! hoist: `compose up` without Docker. This page is the map of the code.
//!
//! One binary, no daemon. A command loads the project, looks at the world, decides, acts and exits; what must live
//! on is a small process that owns exactly one thing: a supervisor a container, which is this binary run again.
//!
//! # What stays true
//!
//! 1. Decisions are pure, effects are dumb: `plan` turns desired and observed state into a graph of actions with their
//!    causes; `apply` runs it and decides nothing. Build, pull, create, start, waiting for health, stop and remove are
//!    actions of that one graph; every command is a view of it.
//! 2. Every value knows where it came from: a span travels from the byte in the file to the error and to the cause.
//! 3. Every stage is a type. No global state; no clock and no environment is read below `cli`, but for the
//!    supervisor and the stores, which stamp what they write.
//! 4. Killing any hoist process stops no container and loses no log line; the next command goes on.
//! 5. The container is the attacker; so are the image, the archive, the registry.
//! 6. Backends differ only below `engine`, kernels only below `sys` and `engine::native`.
//!
//! # Modules
//!
//! | module | in → out |
//! |---|---|
//! | [`base`] | words that all use: names, spans, diagnostics, events, sizes, times |
//! | [`sys`] | typed Linux calls without policy; the only `unsafe` |
//! | [`graph`] | a directed acyclic graph of anything: order, cycles, parallel runs, pictures |
//! | [`compose`] | compose files → [`compose::model::Project`], through named phases |
//! | [`image`] | references, archives, registries → images in a content-addressed store, layers unpacked; git repositories → their files |
//! | [`engine`] | the port to what runs containers; [`engine::native`] is the one that does it itself |
//! | [`build`] | a Dockerfile → an image; steps run in the engine's sandbox |
//! | [`plan`] | project + images + observed state → a graph of actions with causes; pure |
//! | [`apply`] | a plan → its effects; the only caller of the engine's changing methods |
//! | [`watch`] | files that change on the host → files in containers, restarts, rebuilds |
//! | [`ui`] | events, diagnostics, log lines → text on the two output streams |
//! | [`cli`] | arguments and environment → calls of the others → an exit code |
//!
//! # Imports
//!
//! A module may use itself and what its row lists; `tests` checks it against the sources.
//!
//! ```imports
//! base           -
//! sys            base
//! graph          base
//! ui             base graph
//! compose        base graph sys::fs
//! image          base sys
//! engine         base image
//! engine::native base sys graph image engine
//! build          base sys graph image engine::spec engine::sandbox engine::EngineError engine::Result
//! plan           base graph compose::model engine::spec engine::state engine::host engine::driver engine::subnet image::reference image::digest image::config
//! apply          base graph compose::model image build plan engine sys::process
//! watch          base sys::fs compose::model compose::select image engine plan::labels apply build::context::ignore
//! cli            *
//! ```
//!
//! `engine::open`, `engine::open_sandbox` and `engine::examine` are where a backend is chosen; nothing else of `engine` names one.
//! `build` takes the error of `engine` besides, since its sandbox gives it.
//!
//! # Data flow
//!
//! ```text
//! compose.yaml … ─read▶ Raw ─expand▶ Expanded ─join▶ Joined ─merge▶ Merged ─check▶ Checked ─canon▶ Canonical ─bind▶ Project
//!                                                                                            │ select(profiles, names, scale)
//!  image::Store ─resolve▶ Images ────────────────────────────────┐                           ▼
//!                                                Project + Images ─▶ Desired {specs, hashes}
//!  dyn Engine ─observe▶ Observed ──────────────────────┐              │
//!                                                      ▼              ▼
//!                                              reconcile(Desired, Observed, policy) ▶ Plan = Dag<Action + Cause>
//!                                                                                     │  (text · json)
//!                      ┌───────────────── apply::run (graph::schedule) ◀──────────────┘
//!                      ▼                             ▼                              ▼
//!   pull ▶ registry ▶ layers ▶ Store   build ▶ steps ▶ Sandbox ▶ Image   create/start/stop/remove ▶ dyn Engine
//!                      └──────────────▶ Outcome ◀────┴──────────────────────────────┘
//!  beside every arrow: Event ▶ EventSink ▶ ui       on every failure: Diagnostics or a typed error ▶ ui::render ▶ exit code
//! ```
//!
//! # Processes
//!
//! | first argument | lives | owns |
//! |---|---|---|
//! | a command | one command | the terminal; the project's lock while it changes things |
//! | `__supervise` | as long as its container should run | init as its child, streams, log, exit status, restarts, probes, name answers |
//! | `__sandbox` | one build step | the step's process |
//! | `__copy` | one `cp`, or one round of `watch` and the wait for it | a way to one container's files, from which there is no way back |
//! | `__mount` | one mount of a volume | a wait for a server or a disk, which can be ended |
//! | `__pack` | one log file | the compressed form of a log file that is full |
//!
//! What becomes a container is made by such a fresh, single-threaded process, never by the many-threaded command.
//!
//! # On disk
//!
//! `<data>` is `/var/lib/hoist`, `<run>` is `/run/hoist`; `HOIST_DATA_ROOT` and `HOIST_RUN_ROOT` move them. Both have mode 0700.
//!
//! | path | owner | what |
//! |---|---|---|
//! | `<data>/images/` | `image::store` | blobs by digest, the index of names |
//! | `<data>/layers/<diff id>/` | `image::layer` | unpacked layers, immutable, shared by images, builds, containers; beside each its record, and how its archive is made of it |
//! | `<data>/cache/` | `build` | results of steps by key, context digests, cache mounts; `sources/` what contexts and `ADD` fetched, `bases/` base images of other platforms |
//! | `<data>/git/<commit>/` | `image::git` | files of a commit of a remote repository |
//! | `<data>/artifacts/<digest>/` | `cli::remote` | files of a compose project from a registry |
//! | `<data>/volumes/<name>/` | `engine::native::volumes` | data and record |
//! | `<data>/networks/<name>/` | `engine::native::net` | record, addresses handed out, names |
//! | `<data>/steps.lock` | `engine::native::net` | held by builds, which keep the network of their steps |
//! | `<data>/isolated.json` | `cli::isolate` | which checkout has which project name and loopback address |
//! | `<data>/snapshots/<project>/<name>/` | `cli::snapshots` | copies of volumes, with their record |
//! | `<data>/projects/<name>/` | `engine::native::records` | container records; below each its upper directory and logs |
//! | `<data>/projects/<name>/dossiers/` | `engine::native::dossier` | what is known of the last containers that failed |
//! | `<data>/key` | `engine::native::held` | what fingerprints of secrets are made with |
//! | `<run>/events/<project>` | `engine::native::journal` | what happened to containers, a line each; written by supervisors and commands, bounded |
//! | `<run>/held/<id>/` | `engine::native::held` | contents of configs and secrets, in memory only |
//! | `<run>/watch-<project>.lock` | `cli` | held by the one command that follows a project's files |
//! | `<run>/` | `engine::native` | supervisors' sockets, process ids with start times, mounts |
//!
//! State is JSON with a version, written beside its place and renamed. Everything in `<run>` may be lost and is made
//! again from `<data>`. Locks are `flock`s on files; [`sys::lock`] states their one order. Every kernel object (mount,
//! link, cgroup, firewall table) has a name derived from its record, so that `down` removes what a crash left.

pub mod apply;
pub mod base;
pub mod build;
pub mod cli;
pub mod compose;
pub mod engine;
pub mod graph;
pub mod image;
pub mod plan;
pub mod sys;
pub mod ui;
pub mod watch;
