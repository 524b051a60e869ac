"""What a line of a two-dimensional level sees beside it; see `cycle2d` for the layout."""

from __future__ import annotations

from .._compile import jit_inner

__all__ = ["add_above", "add_beside", "around", "load_part"]


@jit_inner
def _add2(out, a, xa, b, xb, m):
    for t in range(m):
        out[t] += a[t] * xa[t] + b[t] * xb[t]


@jit_inner
def _add6(out, a, xa, b, xb, c, xc, d, xd, e, xe, f, xf, m):
    for t in range(m):
        y = (c[t] * xc[t] + d[t] * xd[t]) + (e[t] * xe[t] + f[t] * xf[t])
        out[t] += (a[t] * xa[t] + b[t] * xb[t]) + y


@jit_inner
def add_beside(out, p, x, n, s, links, i, a, m, B):
    """out += links · neighbours in the columns beside; parity p of row i, entries from a."""
    o, w, e = 1 - p, a + p * B, a + p * B + B
    E = links[0, i + 1]
    if links.shape[0] == 2:
        _add2(out, E[o, w:], x[o, w:], E[p, a + B :], x[o, e:], m)
        return
    D, U, Dn, Un = links[2, i + 1], links[3, i + 1], links[2, i], links[3, i]
    _add6(
        out, E[o, w:], x[o, w:], E[p, a + B :], x[o, e:], Dn[o, w:], n[o, w:], Un[o, e:], n[o, e:],
        U[p, a + B :], s[o, w:], D[p, a + B :], s[o, e:], m,
    )  # fmt: skip


@jit_inner
def add_above(out, p, n, s, links, i, m, B):
    """out += links · neighbours in the rows n and s around row i; parity p."""
    o, w, e = 1 - p, p * B, p * B + B
    N, S = links[1, i], links[1, i + 1]
    if links.shape[0] == 2:
        _add2(out, N[p, B:], n[p, B:], S[p, B:], s[p, B:], m)
        return
    D, U, Dn, Un = links[2, i + 1], links[3, i + 1], links[2, i], links[3, i]
    _add6(
        out, N[p, B:], n[p, B:], S[p, B:], s[p, B:], Dn[o, w:], n[o, w:], Un[o, e:], n[o, e:],
        U[p, B:], s[o, w:], D[p, B:], s[o, e:], m,
    )  # fmt: skip


@jit_inner
def around(i, rows, ring):
    """Rows before and after i; −1 where there is none."""
    before = i - 1 if i > 0 else (rows - 1 if ring else -1)
    return before, i + 1 if i + 1 < rows else (0 if ring else -1)


@jit_inner
def load_part(out, r, i, p, a, m, B, scale):
    """out = row i of the natural r times scale, parity p, entries from a; 0 where there is none."""
    row = r[i] if i < r.shape[0] else r[0, :0]
    count = min(a + m, (row.size // B + 1 - p) // 2 * B) - a
    if B == 1:
        row = row[2 * a + p :]
        for t in range(count):
            out[t] = row[2 * t] * scale
    else:
        for t in range(0, count, B):
            x, y = row[2 * (a + t) + p * B :], out[t:]
            for k in range(B):
                y[k] = x[k] * scale
    for t in range(max(count, 0), m):
        out[t] = 0
