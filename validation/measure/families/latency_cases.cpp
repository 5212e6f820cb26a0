// Chains of dependent loads, level by level of the memory pyramid.

#include "case.h"

namespace memwall::measure {

namespace {

Case base(const char* op, bool quick) {
    Case one;
    one.family = Family::latency;
    one.op = op;
    one.kind = "micro";
    one.metric = "latency_cycles";
    one.cache = "warm";
    one.quick = quick;
    one.gpu_ms = 350;
    return one;
}

}  // namespace

void add_latency_cases(Cases& cases) {
    const auto add = [&](const char* op, const Json& params, bool quick = false) {
        Case one = base(op, quick);
        one.params = params;
        cases.push_back(one);
        return cases.size() - 1;
    };
    constexpr long long kKiB = 1024, kMiB = 1024 * kKiB;
    add("smem_chase", {{"bytes", 16 * kKiB}}, true);
    add("pointer_chase", {{"bytes", 16 * kKiB}, {"stride", 128}, {"access", "l1"}}, true);
    add("pointer_chase", {{"bytes", 128 * kKiB}, {"stride", 128}, {"access", "l1"}});
    // The knees: where L2's halves, L2 and the reach of address translation end.
    for (const long long kib : {256LL,   1024LL,  4096LL,  8192LL,  16384LL,  20480LL,  24576LL,  26624LL,
                                28672LL, 30720LL, 32768LL, 36864LL, 40960LL,  45056LL,  49152LL,  53248LL,
                                57344LL, 61440LL, 65536LL, 81920LL, 131072LL, 262144LL, 524288LL, 1048576LL}) {
        add("pointer_chase", {{"bytes", kib * kKiB}, {"stride", 128}, {"access", "ld"}},
            kib == 1024 || kib == 32768 || kib == 262144);
    }
    for (const int stride : {32, 64, 4096}) {
        add("pointer_chase", {{"bytes", 8 * kMiB}, {"stride", stride}, {"access", "ld"}});
        add("pointer_chase", {{"bytes", 256 * kMiB}, {"stride", stride}, {"access", "ld"}});
    }
    for (const int sm : {0, 1, 17, 40, 77, 100, 113}) {
        add("pointer_chase", {{"bytes", 2 * kMiB}, {"stride", 128}, {"access", "ld"}, {"sm", sm}});
    }
    // Near: lines whose home is in the SM's own half. Far: resident in the other half, and not yet copied.
    for (const char* warm : {"near", "far"}) {
        add("pointer_chase", {{"bytes", 8 * kMiB}, {"stride", 4096}, {"access", "ld"}, {"warm", warm}}, true);
    }
    // Many chains at once: latency under load.
    for (const int chains : {132, 528, 1056, 2112, 4224, 8448}) {
        add("pointer_chase", {{"bytes", 1024 * kMiB}, {"stride", 128}, {"access", "ld"}, {"chains", chains}},
            chains == 2112);
        add("pointer_chase", {{"bytes", 16 * kMiB}, {"stride", 128}, {"access", "ld"}, {"chains", chains}});
    }
    for (const int box : {16, 128, 1024, 4096, 16384}) {
        for (const long long mib : {2LL, 256LL}) {
            add("pointer_chase",
                {{"bytes", mib * kMiB}, {"stride", box < 128 ? 128 : box}, {"access", "tma"}, {"box_bytes", box}},
                box == 1024);
        }
    }
    for (const int cluster : {2, 4, 8, 16}) add("dsmem_chase", {{"cluster_size", cluster}}, cluster == 2);
}

}  // namespace memwall::measure
