// Products of few rows (decode): the weights of Llama-2-7B's and Llama-3-8B's projections, by path, tile, depth, split.

#include "case.h"
#include "gemm_tiles.h"

namespace memwall::measure {

namespace {

struct Shape {
    int m, n, k;
};

Case base(const Shape& s) {
    Case one;
    one.family = Family::skinny;
    one.op = "gemm";
    one.kind = "kernel";
    one.params = {{"m", s.m}, {"n", s.n}, {"k", s.k}, {"dtype", "bf16"}};
    one.cache = "cold";
    one.gpu_ms = 200;
    return one;
}

void add_tma(Cases& cases, const Shape& s, int tile_n, int tile_k, int stages, int split, bool quick = false) {
    Case one = base(s);
    one.schedule = {{"path", "tma"}, {"tile", {s.m, tile_n, tile_k}}, {"stages", stages}, {"split", split}};
    one.quick = quick;
    cases.push_back(one);
}

void add_plain(Cases& cases, const Shape& s, int tile_n, int split, bool quick = false) {
    Case one = base(s);
    one.schedule = {{"path", "plain"}, {"tile", {s.m, tile_n, 256}}, {"split", split}};
    one.quick = quick;
    cases.push_back(one);
}

void add_library(Cases& cases, const Shape& s, bool quick = false) {
    Case one = base(s);
    one.params["library"] = "cuBLAS";
    one.quick = quick;
    cases.push_back(one);
}

}  // namespace

void add_skinny_cases(Cases& cases) {
    // Each projection of a decode step at batch 1, 8, 64.
    for (const int m : {1, 8, 64}) {
        for (const Shape& s : {Shape{m, 12288, 4096}, Shape{m, 4096, 4096}, Shape{m, 22016, 4096},
                               Shape{m, 4096, 11008}, Shape{m, 28672, 4096}, Shape{m, 32000, 4096}}) {
            const bool quick = s.n == 12288;
            const int split = s.n == 4096 ? 4 : 1;
            add_tma(cases, s, 64, 128, 4, split, quick);
            if (m <= 8) add_plain(cases, s, 32, 1, quick);
            add_library(cases, s, quick);
        }
    }
    // Tile by depth by split on one of them: the ranking.
    for (const Shape& s : {Shape{1, 4096, 4096}, Shape{16, 12288, 4096}}) {
        for (const int tile_n : {64, 128}) {
            for (const int tile_k : {64, 256}) {
                for (const int stages : {1, 2, 4, 8}) {
                    const std::size_t smem = kernels::skinny_smem_bytes(s.m, tile_n, tile_k, stages);
                    if (smem > kernels::kSharedBytesOfCta) continue;
                    for (const int split : {1, 2, 8}) add_tma(cases, s, tile_n, tile_k, stages, split);
                }
            }
        }
    }
    for (const int tile_n : {4, 8, 16, 32, 64}) {
        for (const int split : {1, 2, 4}) {
            const bool there_already = tile_n == 32 && split == 1;
            if (!there_already) add_plain(cases, {1, 4096, 4096}, tile_n, split);
        }
    }
}

}  // namespace memwall::measure
