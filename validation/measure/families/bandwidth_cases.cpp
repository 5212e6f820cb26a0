// Bandwidth of memory and of L2: by path, by SMs, by bytes in flight, by working set, by pattern.

#include "case.h"

namespace memwall::measure {

namespace {

constexpr long long kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB;

Case base(const char* op, const Json& params, bool quick) {
    Case one;
    one.family = Family::bandwidth;
    one.op = op;
    one.kind = "micro";
    one.params = params;
    one.metric = "gbps";
    one.quick = quick;
    one.gpu_ms = 250;
    return one;
}

/// Passes over a resident set that take long enough for the launch not to count.
long long passes_over(long long bytes) {
    return bytes <= 128 * kMiB ? 512 * kMiB / bytes + 1 : 1;
}

}  // namespace

void add_bandwidth_cases(Cases& cases) {
    const auto add = [&](const char* op, Json params, bool quick = false) {
        Case one = base(op, params, quick);
        one.cache = params.value("passes", 1LL) > 1 ? "warm" : "cold";
        cases.push_back(one);
    };
    // Memory: read, write, copy, two in one out is elementwise's.
    for (const char* op : {"read", "write", "copy"}) {
        for (const long long bytes : {64 * kMiB, kGiB, 4 * kGiB}) {
            add(op, {{"bytes", bytes}, {"ctas_per_sm", 2}, {"threads_per_cta", 1024}, {"in_flight", 4}}, bytes == kGiB);
        }
    }
    // The curve over the working set, distinct data and one buffer read by all.
    for (const long long kib : {128LL, 512LL, 2048LL, 4096LL, 8192LL, 16384LL, 20480LL, 24576LL, 28672LL, 32768LL,
                                36864LL, 40960LL, 45056LL, 49152LL, 53248LL, 57344LL, 65536LL, 98304LL}) {
        for (const bool shared : {false, true}) {
            const long long bytes = kib * kKiB;
            add("read",
                {{"bytes", bytes},
                 {"passes", shared ? passes_over(bytes) / 16 + 2 : passes_over(bytes)},
                 {"ctas_per_sm", 2},
                 {"threads_per_cta", 1024},
                 {"in_flight", 4},
                 {"shared", shared}},
                kib == 8192);
        }
    }
    for (const long long mib : {4LL, 16LL, 40LL}) {
        for (const char* op : {"write", "copy"}) {
            add(op, {{"bytes", mib * kMiB},
                     {"passes", passes_over(mib * kMiB)},
                     {"ctas_per_sm", 2},
                     {"threads_per_cta", 1024},
                     {"in_flight", 4}});
        }
    }
    // Against the number of SMs, and bytes in flight (threads x loads x 16 bytes): Little's law.
    for (const int sms : {1, 2, 4, 8, 16, 33, 66, 99}) {
        add("read",
            {{"bytes", 256 * kMiB}, {"ctas_per_sm", 2}, {"threads_per_cta", 1024}, {"in_flight", 4}, {"sms", sms}},
            sms == 1);
        add("read", {{"bytes", 8 * kMiB},
                     {"passes", 16},
                     {"ctas_per_sm", 2},
                     {"threads_per_cta", 1024},
                     {"in_flight", 4},
                     {"sms", sms}});
    }
    for (const int threads : {32, 64, 128, 256, 512, 1024}) {
        for (const int in_flight : {1, 4, 8}) {
            add("read", {{"bytes", kGiB}, {"ctas_per_sm", 1}, {"threads_per_cta", threads}, {"in_flight", in_flight}});
            add("read", {{"bytes", 64 * kMiB},
                         {"ctas_per_sm", 1},
                         {"threads_per_cta", threads},
                         {"in_flight", in_flight},
                         {"sms", 1}});
        }
    }
    // Parts of lines: 32 of 64, 64 of 128, one sector of each line, of every other line, of each 4 KiB.
    struct Pattern {
        int bytes, stride;
    };
    for (const Pattern p : {Pattern{32, 64}, {64, 128}, {32, 128}, {32, 256}, {128, 256}, {32, 4096}}) {
        for (const char* op : {"read", "write"}) {
            add(op,
                {{"bytes", kGiB},
                 {"ctas_per_sm", 2},
                 {"threads_per_cta", 1024},
                 {"in_flight", 4},
                 {"pattern_bytes", p.bytes},
                 {"pattern_stride", p.stride}},
                p.stride == 128 && p.bytes == 32);
        }
    }
    // Bulk loads: box by boxes in flight by CTAs.
    for (const int rank : {1, 2}) {
        for (const int box : {1024, 2048, 4096, 8192, 16384}) {
            for (const int in_flight : {1, 2, 4, 8}) {
                if (box * in_flight > 64 * 1024 || (rank == 2 && in_flight == 2)) continue;
                add("tma_read",
                    {{"bytes", kGiB}, {"box_bytes", box}, {"ctas", 132}, {"in_flight", in_flight}, {"rank", rank}},
                    box == 16384 && in_flight == 4);
            }
        }
    }
    for (const int ctas : {1, 8, 66, 264}) {
        add("tma_read", {{"bytes", 128 * kMiB}, {"box_bytes", 16384}, {"ctas", ctas}, {"in_flight", 4}, {"rank", 1}});
        add("tma_read", {{"bytes", 16 * kMiB},
                         {"box_bytes", 16384},
                         {"ctas", ctas},
                         {"in_flight", 4},
                         {"rank", 1},
                         {"passes", 16}});
    }
    for (const int box : {2048, 16384}) {
        add("copy", {{"bytes", kGiB}, {"path", "tma"}, {"box_bytes", box}, {"ctas", 264}}, box == 16384);
    }
}

}  // namespace memwall::measure
