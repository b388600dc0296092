// Several videos that are played as one: one clock, which is that of the longest; the others are kept in step with it.
import { Store } from "./store.js";

// In seconds. A small drift is caught up with by playing a little faster or slower; a large one by a jump.
const NOTICED = 0.02;
const JUMPED = 0.12;
const CATCH_UP = 0.08;
// The end of a video is no frame any more.
const LAST_FRAME = 0.001;

export class Unison {
  // What the controls show. time, duration: in seconds.
  state = new Store({ playing: false, time: 0, duration: 0, ready: false, rate: 1, loop: true });
  #videos = new Set();
  #ticking = null;

  // Takes a video element; returns what takes it out again.
  add(video) {
    this.#videos.add(video);
    const ended = () => this.#end(video);
    const changed = () => this.#arrived();
    video.addEventListener("ended", ended);
    for (const name of ["loadedmetadata", "canplay", "error"]) video.addEventListener(name, changed);
    changed();
    return () => {
      video.removeEventListener("ended", ended);
      for (const name of ["loadedmetadata", "canplay", "error"]) video.removeEventListener(name, changed);
      this.#videos.delete(video);
      this.#arrived();
    };
  }

  #change(changes) {
    this.state.value = { ...this.state.value, ...changes };
  }

  #sound() {
    return [...this.#videos].filter((video) => !video.error && Number.isFinite(video.duration));
  }

  get #longest() {
    return this.#sound().reduce((one, other) => (one && one.duration >= other.duration ? one : other), null);
  }

  #arrived() {
    const duration = this.#longest?.duration ?? 0;
    const waited = [...this.#videos].filter((video) => !video.error);
    const ready = waited.length > 0 && waited.every((video) => video.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA);
    const first = ready && !this.state.value.ready;
    this.#change({ duration, ready: ready || (this.state.value.ready && waited.length > 0), time: Math.min(this.state.value.time, duration) });
    if (first) this.seek(this.state.value.time);
    if (this.state.value.playing && ready) this.#start();
  }

  // Plays as soon as all can.
  play() {
    const { time, duration, ready } = this.state.value;
    this.#change({ playing: true });
    if (duration && time >= duration - LAST_FRAME) this.seek(0);
    if (ready) this.#start();
  }

  pause() {
    this.#change({ playing: false });
    this.#stop();
    for (const video of this.#videos) video.pause();
    // Not all stop in the same instant.
    if (this.#longest) this.seek(this.#longest.currentTime);
  }

  seek(time) {
    const { duration } = this.state.value;
    const wanted = Math.max(0, Math.min(time, duration));
    for (const video of this.#sound()) video.currentTime = Math.min(wanted, video.duration - LAST_FRAME);
    this.#change({ time: wanted });
  }

  set rate(rate) {
    this.#change({ rate });
    for (const video of this.#videos) video.playbackRate = rate;
  }

  set loop(loop) {
    this.#change({ loop });
  }

  // Stops for good.
  close() {
    this.#change({ playing: false });
    this.#stop();
  }

  #start() {
    const clock = this.#longest;
    for (const video of this.#sound()) {
      video.playbackRate = this.state.value.rate;
      if (clock.currentTime >= video.duration - LAST_FRAME) continue;
      video.play().catch((error) => {
        // Taken away meanwhile, or forbidden by the browser: then nothing plays.
        if (error.name === "NotAllowedError") this.pause();
      });
    }
    this.#ticking ??= requestAnimationFrame(() => this.#tick());
  }

  #stop() {
    if (this.#ticking !== null) cancelAnimationFrame(this.#ticking);
    this.#ticking = null;
  }

  #tick() {
    this.#ticking = requestAnimationFrame(() => this.#tick());
    const clock = this.#longest;
    if (!clock) return;
    const { rate } = this.state.value;
    for (const video of this.#sound()) {
      if (video !== clock) this.#keepInStep(video, clock, rate);
    }
    this.#change({ time: clock.currentTime });
  }

  #keepInStep(video, clock, rate) {
    if (video.seeking || video.ended || clock.seeking || clock.currentTime >= video.duration - LAST_FRAME) return;
    const drift = video.currentTime - clock.currentTime;
    if (video.paused) video.play().catch(() => {});
    if (Math.abs(drift) > JUMPED * Math.max(1, rate)) {
      video.currentTime = clock.currentTime;
      video.playbackRate = rate;
    } else if (Math.abs(drift) > NOTICED) {
      video.playbackRate = rate * (1 - Math.sign(drift) * CATCH_UP);
    } else if (video.playbackRate !== rate) {
      video.playbackRate = rate;
    }
  }

  // The longest rules: the others wait on their last frame.
  #end(video) {
    if (video !== this.#longest || !this.state.value.playing) return;
    if (this.state.value.loop) {
      this.seek(0);
      this.#start();
    } else {
      this.#change({ playing: false, time: this.state.value.duration });
      this.#stop();
    }
  }
}
