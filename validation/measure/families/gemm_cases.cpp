// Products of many rows: shapes that a Llama has and squares, each over the schedules that an architect would turn. The
// shapes with a whole sweep are there to judge whether a simulator ranks schedules as the hardware does.

#include <array>

#include "case.h"
#include "gemm_tiles.h"

namespace memwall::measure {

namespace {

using kernels::GemmTileShape;
using kernels::kGemmTiles;

struct Shape {
    int m, n, k;
};

const char* dtype_of(const GemmTileShape& tile) {
    return tile.element_bytes == 2 ? "bf16" : "fp8";
}

Json params_of(const Shape& s, const char* dtype) {
    return {{"m", s.m}, {"n", s.n}, {"k", s.k}, {"dtype", dtype}};
}

struct Choice {
    GemmTileShape tile;
    int stages;
    int split = 1, panel = 16;
    bool persistent = true;
};

/// GPU time of a case: long enough for a steady clock, with the check's reference beside it.
double budget_ms(const Shape& s) {
    const double flops = 2.0 * s.m * s.n * s.k;
    return 120 + flops / 1e9 * 0.15;
}

void add(Cases& cases, const Shape& s, const Choice& c, bool quick = false) {
    Case one;
    one.family = Family::gemm;
    one.op = "gemm";
    one.kind = "kernel";
    one.params = params_of(s, dtype_of(c.tile));
    one.schedule = {{"tile", {c.tile.m, c.tile.n, c.tile.k}},
                    {"stages", c.stages},
                    {"cluster", c.tile.cluster},
                    {"split", c.split},
                    {"panel", c.panel},
                    {"persistent", c.persistent}};
    one.cache = "cold";
    one.quick = quick;
    one.gpu_ms = budget_ms(s);
    cases.push_back(one);
}

void add_library(Cases& cases, const Shape& s, const char* dtype, bool quick = false) {
    Case one;
    one.family = Family::gemm;
    one.op = "gemm";
    one.kind = "kernel";
    one.params = params_of(s, dtype);
    one.params["library"] = "cuBLAS";
    one.cache = "cold";
    one.quick = quick;
    one.gpu_ms = budget_ms(s);
    cases.push_back(one);
}

GemmTileShape tile_of(int element_bytes, int m, int n, int k, int cluster) {
    for (const GemmTileShape& t : kGemmTiles) {
        if (t.element_bytes == element_bytes && t.m == m && t.n == n && t.k == k && t.cluster == cluster) return t;
    }
    return kGemmTiles[0];
}

int most_stages(const GemmTileShape& tile) {
    int stages = 1;
    while (tile.fits(stages + 1)) ++stages;
    return stages;
}

/// Every tile with few and with many stages.
void add_ranking(Cases& cases, const Shape& s, std::initializer_list<int> stages) {
    for (const GemmTileShape& tile : kGemmTiles) {
        if (tile.element_bytes != 2) continue;
        for (const int depth : stages) {
            if (tile.fits(depth)) add(cases, s, {tile, depth});
        }
    }
}

}  // namespace

void add_gemm_cases(Cases& cases) {
    const GemmTileShape best = tile_of(2, 128, 256, 64, 2), middle = tile_of(2, 128, 128, 64, 1);
    const Shape square{4096, 4096, 4096}, large{8192, 8192, 8192};
    // Best schedule and the library: what is possible.
    for (const Shape& s : {Shape{2048, 2048, 2048}, square, large, Shape{2048, 12288, 4096}, Shape{2048, 22016, 4096},
                           Shape{2048, 4096, 11008}, Shape{2048, 6144, 4096}, Shape{2048, 28672, 4096},
                           Shape{2048, 4096, 14336}, Shape{512, 4096, 4096}, Shape{1024, 4096, 4096}}) {
        const bool quick = s.m >= 4096;
        add(cases, s, {best, most_stages(best)}, quick);
        add_library(cases, s, "bf16", quick);
    }
    // Tile by stages: the ranking.
    add_ranking(cases, {2048, 4096, 4096}, {1, 2, 3, 4, 6, 8});
    add_ranking(cases, {512, 4096, 4096}, {2, 3, 4, 8});
    add_ranking(cases, {3072, 6144, 4096}, {2, 3, 4});
    // Depth alone, to where it stops paying.
    for (int stages = 1; middle.fits(stages); ++stages) {
        add(cases, square, {middle, stages}, stages == 1 || stages == 4);
    }
    for (int stages = 1; best.fits(stages) && stages < most_stages(best); ++stages) add(cases, large, {best, stages});
    // Rasterisation, persistence.
    for (const int panel : {1, 2, 4, 8, 64}) add(cases, large, {best, 4, 1, panel});
    add(cases, large, {best, 4, 1, 16, false});
    add(cases, square, {middle, 4, 1, 16, false});
    // Split of k where the tiles do not fill the chip.
    for (const int m : {128, 256}) {
        for (const int split : {1, 2, 4, 8}) {
            for (const GemmTileShape& tile : {middle, tile_of(2, 64, 128, 64, 1)}) {
                add(cases, {m, 4096, 4096}, {tile, 4, split}, m == 128 && split == 4);
            }
        }
        add_library(cases, {m, 4096, 4096}, "bf16");
    }
    // fp8: every tile at its deepest, and the library.
    for (const Shape& s : {square, large}) {
        for (const GemmTileShape& tile : kGemmTiles) {
            if (tile.element_bytes == 1) add(cases, s, {tile, most_stages(tile)}, s.m == 4096 && tile.n == 256);
        }
        add_library(cases, s, "fp8", s.m == 4096);
    }
}

}  // namespace memwall::measure
