// Injected into every page before its own code: what the page really receives, without asking the
// page. Pictures are judged from a canvas, sound from a spectrum, streams from getStats.
(() => {
  const transports = [];
  const Native = window.RTCPeerConnection;
  // A test may say that only relayed paths are taken, whatever the page wants.
  const bound = (config) =>
    window.icePolicy ? { ...config, iceTransportPolicy: window.icePolicy } : config;
  window.RTCPeerConnection = class extends Native {
    constructor(config, ...rest) {
      super(bound(config), ...rest);
      transports.push(this);
    }

    setConfiguration(config) {
      super.setConfiguration(bound(config));
    }
  };

  const blobs = new Map();
  const name = URL.createObjectURL.bind(URL);
  URL.createObjectURL = (object) => {
    const url = name(object);
    if (object instanceof Blob) blobs.set(url, object);
    return url;
  };

  const pixels = (video, width = 32, height = 18) => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(video, 0, 0, width, height);
    return context.getImageData(0, 0, width, height).data;
  };

  const mean = (data) => {
    const sum = [0, 0, 0];
    for (let i = 0; i < data.length; i++) if (i % 4 < 3) sum[i % 4] += data[i];
    return sum.map((value) => Math.round((value * 4) / data.length));
  };

  let watched;
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  async function reports() {
    const out = [];
    for (const transport of transports) {
      if (transport.connectionState === 'closed') continue;
      for (const report of (await transport.getStats()).values()) out.push(report);
    }
    return out;
  }

  window.proof = {
    // How much a video changes within `ms`, and its mean colour.
    async picture(video, ms = 700) {
      if (!video?.videoWidth) return null;
      const before = pixels(video);
      await wait(ms);
      const after = pixels(video);
      const change = after.reduce((sum, value, i) => sum + Math.abs(value - before[i]), 0);
      return {
        // Alpha never changes, so three of four values count.
        change: change / ((after.length * 3) / 4),
        rgb: mean(after),
        size: [video.videoWidth, video.videoHeight],
      };
    },

    // The bytes of a file that the page has made, in base64: its policy lets nobody fetch it.
    async blob(url) {
      const reader = new FileReader();
      const done = new Promise((resolve) => {
        reader.onload = resolve;
      });
      reader.readAsDataURL(blobs.get(url));
      await done;
      return reader.result.split(',')[1];
    },

    // Mean colour and size of a picture that stands, and the brightness of the bars in its lowest
    // part, which say its number.
    still(video, bits) {
      if (!video?.videoWidth) return null;
      const [width, height] = [bits * 8, 128];
      const data = pixels(video, width, height);
      const bars = Array.from({ length: bits }, (_, bit) => {
        const at = (120 * width + bit * 8 + 4) * 4;
        return Math.round((data[at] + data[at + 1] + data[at + 2]) / 3);
      });
      const size = [video.videoWidth, video.videoHeight];
      // Without the bars and the mark, which are of no colour.
      const rgb = mean(data.subarray(0, width * 60 * 4));
      return { rgb, bars, size };
    },

    // The loudest frequency of a stream's sound, measured over `ms`.
    async tone(stream, ms = 600) {
      if (!stream?.getAudioTracks().length) return null;
      const context = new AudioContext();
      await context.resume();
      const analyser = context.createAnalyser();
      analyser.fftSize = 16_384;
      analyser.smoothingTimeConstant = 0;
      context.createMediaStreamSource(stream).connect(analyser);
      await wait(ms);
      const bins = new Float32Array(analyser.frequencyBinCount);
      analyser.getFloatFrequencyData(bins);
      let peak = 0;
      bins.forEach((db, bin) => {
        if (db > bins[peak]) peak = bin;
      });
      const hz = Math.round((peak * context.sampleRate) / analyser.fftSize);
      await context.close();
      return { hz, db: bins[peak] };
    },

    // The inbound stream of one MediaStreamTrack.
    async inbound(track) {
      for (const transport of transports) {
        const receiver = transport.getReceivers().find((r) => r.track?.id === track?.id);
        if (!receiver) continue;
        const all = await receiver.getStats();
        for (const report of all.values()) {
          if (report.type === 'inbound-rtp') {
            return {
              codec: all.get(report.codecId)?.mimeType,
              packets: report.packetsReceived,
              lost: report.packetsLost,
              frames: report.framesDecoded,
              keyframes: report.keyFramesDecoded,
              freezes: report.freezeCount,
              frozen: report.totalFreezesDuration,
              width: report.frameWidth,
              energy: report.totalAudioEnergy,
              at: report.timestamp,
            };
          }
        }
      }
      return null;
    },

    // The pictures that are encoded here, of all sizes of them together.
    async outbound() {
      const all = await reports();
      const sent = all.filter(({ type, kind }) => type === 'outbound-rtp' && kind === 'video');
      const used = sent.find((report) => report.framesEncoded > 0);
      if (!used) return null;
      return {
        codec: all.find((report) => report.id === used.codecId)?.mimeType,
        frames: sent.reduce((sum, report) => sum + (report.framesEncoded ?? 0), 0),
        encoder: used.encoderImplementation,
        mode: used.scalabilityMode,
        sizes: sent.map((report) => report.frameWidth ?? 0),
      };
    },

    // Watches the picture that `selector` finds, wherever the page moves it, until `unwatch`: its
    // mean colour every 50 ms and the longest time without a newly decoded frame.
    watch(selector) {
      const seen = { rgb: [], longestGap: 0, frames: 0, isWatching: true };
      const look = async () => {
        let [frames, since] = [-1, performance.now()];
        while (seen.isWatching) {
          const video = document.querySelector(selector);
          const stream = await this.inbound(video?.srcObject?.getVideoTracks()[0]);
          const now = performance.now();
          if (stream && stream.frames !== frames) [frames, since] = [stream.frames, now];
          seen.frames = frames;
          seen.longestGap = Math.max(seen.longestGap, now - since);
          // An element that was just put elsewhere has no picture yet.
          if (video?.readyState >= 2 && video.videoWidth) seen.rgb.push(mean(pixels(video)));
          await wait(50);
        }
      };
      seen.done = look();
      watched = seen;
    },

    async unwatch() {
      const { rgb, longestGap, frames } = watched;
      watched.isWatching = false;
      await watched.done;
      return { rgb, longestGap, frames };
    },

    // The SRTP profile and state of every transport.
    async transports() {
      return (await reports())
        .filter((report) => report.type === 'transport')
        .map(({ srtpCipher, dtlsState, tlsVersion }) => ({ srtpCipher, dtlsState, tlsVersion }));
    },

    // How many sections each open transport has, as the other side described them.
    sections() {
      const open = transports.filter((one) => one.connectionState !== 'closed');
      const described = open.map((one) => one.remoteDescription?.sdp ?? '');
      return described.map((sdp) => sdp.split('\r\nm=').length - 1);
    },

    // The way that media takes: kind and protocol of our candidate and the server's.
    async path() {
      const all = await reports();
      const by = new Map(all.map((report) => [report.id, report]));
      const transport = all.find((report) => report.type === 'transport');
      const pair = by.get(transport?.selectedCandidatePairId);
      if (!pair || transport.dtlsState !== 'connected') return null;
      const { candidateType: kind, protocol, relayProtocol } = by.get(pair.localCandidateId) ?? {};
      const { candidateType: remote, port } = by.get(pair.remoteCandidateId) ?? {};
      return { kind, protocol, relayProtocol, remote, port };
    },

    // What there is to know for the log of a failed test.
    async dump() {
      const told = [
        ...['type', 'kind', 'rid', 'ssrc', 'packetsReceived', 'packetsLost', 'framesDecoded'],
        ...['frameWidth', 'freezeCount', 'totalFreezesDuration', 'keyFramesDecoded', 'pliCount'],
        ...['nackCount', 'audioLevel', 'packetsSent', 'framesEncoded', 'qualityLimitationReason'],
        ...['state', 'currentRoundTripTime', 'availableOutgoingBitrate', 'srtpCipher', 'dtlsState'],
      ];
      const wanted = ['inbound-rtp', 'outbound-rtp', 'transport', 'candidate-pair'];
      const chosen = (await reports()).filter((report) => wanted.includes(report.type));
      const known = (report) => told.filter((name) => report[name] !== undefined);
      return chosen.map((report) => known(report).map((name) => `${name}=${report[name]}`).join(' '));
    },
  };
})();
