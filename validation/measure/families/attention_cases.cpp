// Attention, decode and prefill: the heads of Llama-2-7B, Llama-3-8B and 70B, over contexts, batches and schedules.

#include "attention_tiles.h"
#include "case.h"

namespace memwall::measure {

namespace {

struct Heads {
    int heads, kv_heads, dim;
};
constexpr Heads k7B{32, 32, 128}, k8B{32, 8, 128}, k70B{64, 8, 128}, kSmall{32, 32, 64};

/// 132 SMs: the schedule of a case must not depend on the machine that it is listed on.
constexpr int kSms = 132, kCtasPerSm = 2;

struct DecodeShape {
    Heads heads;
    int batch, kv, page = 0;
};

int group_columns(const Heads& h) {
    return (h.heads / h.kv_heads + 7) / 8 * 8;
}

Case decode_base(const DecodeShape& s) {
    Case one;
    one.family = Family::attention;
    one.op = "attention_decode";
    one.kind = "kernel";
    one.params = {{"batch", s.batch}, {"heads", s.heads.heads},  {"kv_heads", s.heads.kv_heads},
                  {"kv", s.kv},       {"head_dim", s.heads.dim}, {"dtype", "bf16"}};
    if (s.page > 0) one.params["page"] = s.page;
    one.cache = "cold";
    one.gpu_ms = 250;
    return one;
}

Json decode_schedule(const Heads& h, int tile, int stages, int split, const char* path) {
    return {{"tile", {group_columns(h), tile, h.dim}}, {"stages", stages}, {"split", split}, {"path", path}};
}

void add_decode(Cases& cases, const DecodeShape& s, const char* path = "tma", bool quick = false) {
    Case one = decode_base(s);
    const int split = kernels::splits_by_rule(s.batch * s.heads.kv_heads, s.kv, kCtasPerSm * kSms);
    one.schedule = decode_schedule(s.heads, 64, 3, split, path);
    one.quick = quick;
    cases.push_back(one);
}

void add_prefill(Cases& cases, const Heads& h, int batch, int tokens, bool causal, int tile_q, int tile_kv, int stages,
                 bool quick = false) {
    Case one;
    one.family = Family::attention;
    one.op = "attention_prefill";
    one.kind = "kernel";
    one.params = {{"batch", batch}, {"heads", h.heads},  {"kv_heads", h.kv_heads}, {"q", tokens},
                  {"kv", tokens},   {"head_dim", h.dim}, {"causal", causal},       {"dtype", "bf16"}};
    one.schedule = {{"tile", {tile_q, tile_kv, h.dim}}, {"stages", stages}};
    one.cache = "cold";
    one.quick = quick;
    one.gpu_ms = 250 + 4.0 * batch * h.heads * tokens / 1e9 * tokens * h.dim / 1e3 * 3;
    cases.push_back(one);
}

}  // namespace

void add_attention_cases(Cases& cases) {
    for (const Heads& h : {k7B, k8B, k70B}) {
        for (const int kv : {512, 2048, 8192, 32768}) add_decode(cases, {h, 1, kv}, "tma", kv == 8192);
        for (const int batch : {8, 64}) add_decode(cases, {h, batch, 2048}, "tma", batch == 8);
        add_decode(cases, {h, 1, 8192}, "plain");
    }
    add_decode(cases, {k8B, 1, 65536});
    add_decode(cases, {k8B, 16, 8192});
    for (const int page : {16, 64}) {
        add_decode(cases, {k8B, 8, 8192, page}, "tma", page == 16);
        add_decode(cases, {k8B, 8, 8192, page}, "plain");
    }
    Case warm = decode_base({k8B, 1, 2048});
    warm.schedule = decode_schedule(k8B, 64, 3, 8, "tma");
    warm.cache = "warm";
    cases.push_back(warm);
    // Tile by depth by split: the ranking.
    for (const DecodeShape& s : {DecodeShape{k7B, 1, 8192}, DecodeShape{k8B, 4, 16384}}) {
        for (const int tile : {64, 128}) {
            for (const int stages : {1, 2, 3}) {
                for (const int split : {1, 2, 4, 8, 16}) {
                    Case one = decode_base(s);
                    one.schedule = decode_schedule(s.heads, tile, stages, split, "tma");
                    cases.push_back(one);
                }
            }
        }
    }
    for (const int tokens : {512, 1024, 2048, 4096, 8192, 16384}) {
        for (const bool causal : {true, false}) {
            add_prefill(cases, k7B, 1, tokens, causal, 128, 128, 2, tokens == 2048);
        }
    }
    add_prefill(cases, k8B, 1, 2048, true, 128, 128, 2);
    add_prefill(cases, k8B, 4, 4096, true, 128, 128, 2);
    for (const bool causal : {true, false}) add_prefill(cases, kSmall, 1, 4096, causal, 128, 128, 2, causal);
    // Tile by depth.
    for (const bool causal : {true, false}) {
        for (const int tile_q : {64, 128}) {
            for (const int tile_kv : {64, 128}) {
                for (const int stages : {1, 2, 3}) {
                    // 128 x 128 in three stages: 32 KiB of queries and six times 32 KiB do not fit.
                    if (tile_kv == 128 && stages == 3 && tile_q == 128) continue;
                    add_prefill(cases, k7B, 2, 4096, causal, tile_q, tile_kv, stages);
                }
            }
        }
        add_prefill(cases, k7B, 2, 4096, causal, 128, 176, 1);
        add_prefill(cases, k7B, 2, 4096, causal, 128, 176, 2);
        add_prefill(cases, kSmall, 2, 4096, causal, 64, 128, 2);
        add_prefill(cases, kSmall, 2, 4096, causal, 192, 128, 2);
    }
}

}  // namespace memwall::measure
