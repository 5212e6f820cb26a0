// Which keys a tile of attention sees, and how keys are divided: plain arithmetic for host and device, tested without a
// GPU.
#pragma once

#include <cmath>
#include <cstdint>

namespace memwall::kernels {

/// Key tiles that query rows first_row .. first_row + rows - 1 see: under a causal mask query i sees keys up to
/// i + kv_tokens - q_tokens. Rows beyond the last query do not count. At least one tile.
constexpr int visible_tiles(bool causal, int first_row, int rows, int q_tokens, int kv_tokens, int tile_kv) {
    int keys = kv_tokens;
    if (causal) {
        const int last_row = first_row + rows < q_tokens ? first_row + rows - 1 : q_tokens - 1;
        const int seen = last_row + kv_tokens - q_tokens + 1;
        keys = seen < kv_tokens ? seen : kv_tokens;
    }
    return keys <= tile_kv ? 1 : (keys + tile_kv - 1) / tile_kv;
}

/// Whether some key of tile `tile` is not seen by some row from first_row on, so that the tile needs a mask.
constexpr bool needs_mask(bool causal, int tile, int first_row, int q_tokens, int kv_tokens, int tile_kv) {
    const int end = (tile + 1) * tile_kv;
    return end > kv_tokens || (causal && end - 1 > first_row + kv_tokens - q_tokens);
}

/// Whether row `row` sees key `key`.
constexpr bool sees(bool causal, int row, int key, int q_tokens, int kv_tokens) {
    return key < kv_tokens && (!causal || key <= row + kv_tokens - q_tokens);
}

/// One CTA's place in prefill: heads of a batch entry, and a query tile. Under a causal mask the longest query tiles of
/// all heads go first; without one the query tiles of a head follow each other and share its keys in L2.
struct PrefillItem {
    int batch, head, q_tile;
};
constexpr PrefillItem prefill_item(int index, int batch, int heads, int q_tiles, bool causal) {
    if (!causal) return {index / (heads * q_tiles), index / q_tiles % heads, index % q_tiles};
    const int all_heads = batch * heads, head = index % all_heads;
    return {head / heads, head % heads, q_tiles - 1 - index / all_heads};
}

/// Keys of a sequence in tiles, and the tiles in splits none of which is empty.
struct KeySplit {
    int tiles, share, splits;
    static constexpr KeySplit of(int kv, int tile, int wanted) {
        const int tiles = (kv + tile - 1) / tile;
        const int parts = wanted < 1 ? 1 : wanted > tiles ? tiles : wanted;
        const int share = (tiles + parts - 1) / parts;
        return {tiles, share, (tiles + share - 1) / share};
    }
    [[nodiscard]] constexpr int first(int split) const { return split * share; }
    [[nodiscard]] constexpr int end(int split) const {
        return split * share + share < tiles ? split * share + share : tiles;
    }
};

/// FlashAttention's rule: no split when `units` (sequences times KV heads) nearly fill the chip; else the fewest splits
/// whose waves are nearly as full as the fullest, each with at least two tiles of 64 keys.
inline int splits_by_rule(int units, int kv, int slots) {
    if (units >= 0.8 * slots) return 1;
    const int tiles = kv / 128;
    const int most = tiles < 1 ? 1 : tiles > 128 ? 128 : tiles;
    const auto fullness = [&](int splits) {
        const double waves = static_cast<double>(units) * splits / slots;
        return waves / std::ceil(waves);
    };
    double best = 0;
    for (int splits = 1; splits <= most; ++splits) best = fullness(splits) > best ? fullness(splits) : best;
    for (int splits = 1; splits <= most; ++splits) {
        if (fullness(splits) >= 0.85 * best) return splits;
    }
    return 1;
}

}  // namespace memwall::kernels
