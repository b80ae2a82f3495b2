// Injected into every page before its own code: what the page really receives, without asking the
// page. Pictures are judged from a canvas, sound from a spectrum, streams from getStats.
(() => {
  const transports = [];
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...options) {
      super(...options);
      transports.push(this);
    }
  };

  const pixels = (video, width = 32, height = 18) => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(video, 0, 0, width, height);
    return context.getImageData(0, 0, width, height).data;
  };

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
      let change = 0;
      const rgb = [0, 0, 0];
      for (let i = 0; i < after.length; i += 4) {
        for (let k = 0; k < 3; k++) {
          change += Math.abs(after[i + k] - before[i + k]);
          rgb[k] += after[i + k];
        }
      }
      const cells = after.length / 4;
      return {
        change: change / cells / 3,
        rgb: rgb.map((sum) => Math.round(sum / cells)),
        size: [video.videoWidth, video.videoHeight],
      };
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
        for (const report of (await receiver.getStats()).values()) {
          if (report.type === 'inbound-rtp') {
            return {
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

    // The SRTP profile and state of every transport.
    async transports() {
      return (await reports())
        .filter((report) => report.type === 'transport')
        .map(({ srtpCipher, dtlsState, tlsVersion }) => ({ srtpCipher, dtlsState, tlsVersion }));
    },

    // Everything, for the log of a failed test.
    async dump() {
      const wanted = ['inbound-rtp', 'outbound-rtp', 'transport', 'candidate-pair'];
      return (await reports()).filter((report) => wanted.includes(report.type));
    },
  };
})();
