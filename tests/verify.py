#!/usr/bin/env python3
"""A second verifier, written from docs/archive-format.md alone: verify.py FOLDER [NODE KEY]. Says what is wrong; 0 if nothing."""
import base64, cryptography.hazmat.primitives.asymmetric.ed25519 as ed25519, hashlib, json, os, re, struct, sys
folder, node, wrong = os.path.abspath(sys.argv[1]), (sys.argv + [None])[2], []
sha, b64 = lambda *parts: hashlib.sha256(b"".join(parts)).digest(), lambda text: base64.b64decode(text, validate=True)
read = lambda name: open(path, "rb").read() if os.path.exists(path := os.path.join(folder, name)) else b""
def must(holds, what): return holds or wrong.append(what)
def signed(key, signature, message):
    try: return ed25519.Ed25519PublicKey.from_public_bytes(key).verify(signature, message) is None
    except Exception: return False
def sig(kind, name):  # section 2
    must(len(s := read(name.rsplit(".", 1)[0] + ".sig")) == 96 and s[:32] == key and signed(key, s[32:], f"consilium/{kind}/1\n".encode() + sha(read(name))), f"{name}: signature")
    return json.loads(read(name))
def segment(n, torn, prev):  # sections 5 and 8
    name, chain, age = f"seg-{n:06}", read(f"seg-{n:06}.chain"), read(f"seg-{n:06}.age")
    if len(chain) < 52: return must(torn, f"{name}: head")
    (t0, L), _ = struct.unpack("<8xQ32xI", chain[:52]), must(chain[:8] + chain[16:48] == struct.pack("<4sI", b"CCH1", n) + prev, f"{name}: head")
    mine = [w for w in writers if w.get("first_segment", 0) <= n] or [{"key": "", "first_segment": n, "prev": ""}]
    must(mine[-1]["first_segment"] != n or mine[-1]["prev"] == prev.hex(), f"{name}: writer")
    value, at, chunks, proven, end, bad = sha(b"consilium/segment/1\n", ulid, struct.pack("<IQ", n, t0), prev, age[:L]), 52, 0, 0, None, []
    while at < len(chain) and not end:
        kind, entry = chain[at:at + 1], chain[at:at + {67: 41, 83: 65, 69: 65, 82: 97}.get(chain[at], 0)]
        if len(entry) < 41 or at + {67: 41, 83: 65, 69: 65, 82: 97}[chain[at]] > len(chain): must(torn and kind in b"CSER", f"{name}: entry after chunk {chunks - 1}"); break
        if kind == b"C":
            here, digest = struct.pack("<I", chunks), sha(age[L + chunks * 65552:L + (chunks + 1) * 65552])
            bad, value, chunks = bad + [chunks] * (entry[1:5] + entry[9:] != here + digest), sha(value, entry[1:]), chunks + 1
        else:
            signer = b64(mine[-1]["key"]) if kind != b"R" else entry[1:33] if entry[1:33] == key else b""
            must((torn and len(age) < L) or signed(signer, entry[-64:], b"consilium/chain/1\n" + kind + ulid + struct.pack("<II", n, chunks) + value), f"{name}: signature after chunk {chunks - 1}")
            proven, end = chunks, {b"E": "closed", b"R": "salvaged"}.get(kind)
        at += len(entry)
    must(torn or (at == len(chain) and end and len(age) <= L + chunks * 65552), f"{name}: its end")
    wrong.extend(f"{name}: chunk {c}" for c in bad if not (torn and (c >= proven or L + (c + 1) * 65552 > len(age))))
    return segments.append((n, len(age), chunks, t0, value.hex(), end)) or value
def logged(proof):  # section 11: C2SP tlog-proof, RFC 9162 section 2.1.3.2
    (head, note), ids = proof.split("\n\n", 1), sha((node_name := proof.split("\n\n", 1)[1].split("\n")[0]).encode() + b"\n\x01" + key)[:4]
    (text, lines), (first, extra, index, *path) = note.rsplit("\n\n", 1), head.split("\n")
    good = [g[4:] for line in lines.splitlines() if line.startswith(f"\u2014 {node_name} ") and (g := b64(line.split(" ")[2]))[:4] == ids]
    must(first == "c2sp.org/tlog-proof@v1" and any(signed(key, g, (text + "\n").encode()) for g in good), "manifest.proof: checkpoint")
    must([*map(json.loads(b64(extra[6:])).get, ("type", "recording", "sha256"))] == ["manifest", header["recording"], sha(read("manifest.json")).hex()], "manifest.proof: another entry")
    leaf, i, n = sha(b"\0" + b64(extra[6:])), int(index[6:]), int(text.split("\n")[1])
    tree = lambda i, n, path: leaf if n == 1 and not path else sha(b"\1", tree(i, k, path[:-1]), path[-1]) if i < (k := 1 << (n - 1).bit_length() - 1) else sha(b"\1", path[-1], tree(i - k, n - k, path[:-1]))
    must((index[:6], extra[:6]) == ("index ", "extra ") and i < n and tree(i, n, [*map(b64, path)]) == b64(text.split("\n")[2]), "manifest.proof: path")
def closed():  # section 10
    m, digest = sig("manifest", "manifest.json"), lambda name: sha(read(name)).hex()
    must([tuple(s[k] for k in ("segment", "bytes", "chunks", "t0_us", "chain", "sealed")) for s in m["segments"]] == segments, "manifest.json: segments")
    must(m["header"] == digest("header.json") and m["index"] == digest("index.age") and m["shares"] == {n: digest(n) for n in names if n.startswith(("share-c", "break-glass", "index-"))}, "manifest.json: header, index or shares")
    must([(w["writer"], w["sha256"]) for w in m["writers"]] == [(w["writer"], digest(f"writer-{w['writer']:06}.json")) for w in writers], "manifest.json: writers")
    wrong.extend(f"{n}: unexpected" for n in names if n not in m["shares"] and not re.fullmatch(r"(header|manifest|writer-\d{6})\.(json|sig)|seg-\d{6}\.(age|chain)|index\.age|manifest\.proof", n))
    logged(read("manifest.proof").decode())
key, names, segments, name = b64(node) if node else read("header.sig")[:32], sorted(os.listdir(folder)), [], os.path.basename(folder)
ulid = (sum("0123456789ABCDEFGHJKMNPQRSTVWXYZ".find(c) * 32 ** i for i, c in enumerate(reversed(name))) % (1 << 128)).to_bytes(16, "big")
try:
    header, is_closed, prev = sig("header", "header.json"), any(n.startswith("manifest.") for n in names), sha(read("header.json"))
    must(header["recording"] == name and b64(header["node"]) == key, "header.json: recording or node")
    must((writers := [sig("writer", n) for n in names if re.fullmatch(r"writer-\d{6}\.json", n)]) and [w.get("writer") for w in writers] == list(range(len(writers))), "writers: numbers")
    for n in range(count := len({n[:10] for n in names if re.fullmatch(r"seg-\d{6}\.(age|chain)", n)})): prev = segment(n, not is_closed and n == count - 1, prev) or b""
    wrong += closed() or [] if is_closed else [n for n in names if not re.fullmatch(r"(header|writer-\d{6}|summary)\.(json|sig)|seg-\d{6}\.(age|chain)|(share-c.*|index.*|break-glass)\.age|.*\.unfinished", n)]
except Exception as error: wrong.append(f"cannot be understood: {error!r}")
print("\n".join(wrong) or f"intact: {len(segments)} segments"); sys.exit(bool(wrong))
