// Which tile of C, and which part of k, a CTA of the GEMM works on: plain arithmetic, the same on host and device, so
// that a test without a GPU walks every tile once.
#pragma once

#include <algorithm>
#include <cstdint>

namespace memwall::kernels {

constexpr int ceil_div(std::int64_t a, std::int64_t b) {
    return static_cast<int>((a + b - 1) / b);
}

/// One cluster's piece of work: m tiles m_tile .. m_tile + cluster - 1 of one n tile, steps of k from first to end.
struct GemmItem {
    int m_tile, n_tile, split;
    int first_step, end_step;
};

/// The grid of pieces. Order: parts of k vary fastest; `panel` m groups are walked for each n tile, so that the CTAs at
/// work together share a panel of A against a sweep of B in L2.
struct GemmOrder {
    int m_groups, n_tiles, splits;  ///< an m group is `cluster` m tiles
    int steps, share;               ///< steps of k in all, and of one part
    int panel, cluster;             ///< panel in m groups

    static constexpr GemmOrder of(std::int64_t m, std::int64_t n, std::int64_t k, int tile_m, int tile_n, int tile_k,
                                  int cluster, int splits, int panel_tiles) {
        GemmOrder order{};
        order.m_groups = ceil_div(ceil_div(m, tile_m), cluster);
        order.n_tiles = ceil_div(n, tile_n);
        order.steps = ceil_div(k, tile_k);
        order.share = ceil_div(order.steps, std::max(splits, 1));
        order.splits = ceil_div(order.steps, order.share);  // no part is empty
        order.panel = std::clamp(panel_tiles / cluster, 1, order.m_groups);
        order.cluster = cluster;
        return order;
    }

    [[nodiscard]] constexpr int items() const { return m_groups * n_tiles * splits; }

    [[nodiscard]] constexpr GemmItem item(int index) const {
        GemmItem item{};
        item.split = index % splits;
        const int tile = index / splits;
        const int panel_items = panel * n_tiles;
        const int first_group = tile / panel_items * panel;
        const int within = tile % panel_items;
        const int width = m_groups - first_group < panel ? m_groups - first_group : panel;
        item.n_tile = within / width;
        item.m_tile = (first_group + within % width) * cluster;
        item.first_step = item.split * share;
        item.end_step = item.first_step + share < steps ? item.first_step + share : steps;
        return item;
    }
};

}  // namespace memwall::kernels
