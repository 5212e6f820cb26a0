// Bandwidth of memory and of L2: by path, by SMs, by bytes in flight, by working set, by pattern.
//
// Where a case names no threads, CTAs or loads in flight, they are 512, 4 and 4 (copies: 2), which is what the
// simulator takes too. A case that sets loads in flight says so in its parameters and is no case of the simulator's.

#include <algorithm>

#include "case.h"

namespace memwall::measure {

namespace {

constexpr long long kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB;

/// Warm when it passes over a resident set again and again, else cold.
void add(Cases& cases, const char* op, const Json& params, bool quick = false, double gpu_ms = 250) {
    Case one;
    one.family = Family::bandwidth;
    one.op = op;
    one.kind = "micro";
    one.params = params;
    one.metric = "gbps";
    one.cache = params.value("passes", 1LL) > 1 ? "warm" : "cold";
    one.quick = quick;
    one.gpu_ms = gpu_ms;
    cases.push_back(one);
}

/// A footprint that takes up to 400 us when `sms` SMs have so many bytes in flight each: by Little's law over a latency
/// of 0.8 us, but no more than 60 bytes a nanosecond of an SM and 3,000 of all.
long long footprint(int sms, long long in_flight) {
    const double bytes_per_ns = std::min({sms * static_cast<double>(in_flight) / 800, sms * 60.0, 3000.0});
    long long bytes = 64 * kKiB;
    while (static_cast<double>(2 * bytes) <= bytes_per_ns * 400e3) bytes *= 2;
    return bytes;
}

void add_memory(Cases& cases) {
    for (const char* op : {"read", "write", "copy"}) {
        for (const long long bytes : {64 * kMiB, kGiB, 4 * kGiB}) add(cases, op, {{"bytes", bytes}}, bytes == kGiB);
    }
}

/// The curve over the working set: distinct data, each SM its share; and one buffer that every SM reads.
void add_working_sets(Cases& cases) {
    const auto passes = [](long long bytes, long long of) { return std::max(2LL, of / bytes); };
    for (const long long mib : {4LL, 8LL, 12LL, 16LL, 20LL, 24LL, 28LL, 30LL, 32LL, 34LL, 36LL, 40LL, 44LL, 48LL, 52LL,
                                56LL, 64LL, 80LL, 128LL}) {
        add(cases, "read", {{"bytes", mib * kMiB}, {"passes", passes(mib * kMiB, 2 * kGiB)}},
            mib == 8 || mib == 32 || mib == 64);
    }
    // One CTA on each SM: neighbours on an SM would find each other's lines.
    for (const long long kib : {128LL, 512LL, 2048LL, 4096LL, 8192LL, 16384LL, 20480LL, 24576LL, 28672LL, 32768LL,
                                40960LL, 49152LL, 65536LL}) {
        const long long bytes = kib * kKiB;
        add(cases, "read",
            {{"bytes", bytes},
             {"passes", passes(bytes, 32 * kMiB)},
             {"ctas_per_sm", 1},
             {"threads_per_cta", 1024},
             {"shared", true}},
            kib == 8192, bytes > 24 * kMiB ? 350 : 250);
    }
    for (const long long mib : {4LL, 16LL, 40LL}) {
        for (const char* op : {"write", "copy"}) {
            add(cases, op, {{"bytes", mib * kMiB}, {"passes", passes(mib * kMiB, 2 * kGiB)}}, mib == 16);
        }
    }
}

void add_few_sms(Cases& cases) {
    for (const int sms : {1, 2, 4, 8, 16, 33, 66, 99}) {
        add(cases, "read", {{"bytes", std::min(16 * kMiB * sms, kGiB)}, {"sms", sms}}, sms == 1);
        add(cases, "read", {{"bytes", 8 * kMiB}, {"passes", 2 + sms}, {"sms", sms}}, sms == 1);
        add(cases, "write", {{"bytes", 8 * kMiB}, {"passes", 2 + sms}, {"sms", sms}});
    }
}

/// Threads x loads x 16 bytes on all SMs and on one.
void add_in_flight(Cases& cases) {
    for (const int threads : {32, 128, 512, 1024}) {
        for (const int in_flight : {1, 2, 4, 8}) {
            for (const int sms : {0, 1}) {
                const long long bytes = footprint(sms == 0 ? 132 : sms, 16LL * threads * in_flight);
                Json params{
                    {"bytes", bytes}, {"ctas_per_sm", 1}, {"threads_per_cta", threads}, {"in_flight", in_flight}};
                if (sms > 0) params["sms"] = sms;
                add(cases, "read", params);
            }
        }
    }
}

/// Parts of lines: 32 of 64, 64 of 128, one sector of each line, of every other line, of each 4 KiB; parts of sectors;
/// and all sectors in a random order, from memory and from L2.
void add_patterns(Cases& cases) {
    struct Pattern {
        int bytes, stride;
    };
    for (const Pattern p : {Pattern{32, 64}, {64, 128}, {32, 128}, {32, 256}, {128, 256}, {32, 4096}}) {
        for (const char* op : {"read", "write"}) {
            // Of each 4 KiB so many that the lines are more than L2 holds.
            const long long bytes = p.stride == 4096 ? 4 * kGiB : kGiB;
            add(cases, op, {{"bytes", bytes}, {"pattern_bytes", p.bytes}, {"pattern_stride", p.stride}},
                p.stride == 128 && p.bytes == 32);
        }
    }
    // Whole sectors and halves of them into L2: what a piece costs, and what merging it does.
    for (const Pattern p : {Pattern{32, 32}, {16, 32}, {16, 128}}) {
        add(cases, "write",
            {{"bytes", 16 * kMiB}, {"pattern_bytes", p.bytes}, {"pattern_stride", p.stride}, {"passes", 64}},
            p.stride == 32);
    }
    for (const long long bytes : {16 * kMiB, kGiB}) {
        Json params{{"bytes", bytes}, {"pattern_bytes", 32}, {"pattern_stride", 32}, {"order", "random"}};
        if (bytes < kGiB) params["passes"] = 64;
        add(cases, "read", params, bytes == kGiB);
    }
}

/// Bulk copies: box by boxes in flight by CTAs.
void add_tma(Cases& cases) {
    const auto read = [&](int box, int in_flight, int ctas, int rank, bool quick = false) {
        const long long per_cta = static_cast<long long>(box) * in_flight;
        // More than one CTA to an SM only adds to what is in flight there.
        add(cases, "tma_read",
            {{"bytes", footprint(std::min(ctas, 132), per_cta * std::max(1, ctas / 132))},
             {"box_bytes", box},
             {"ctas", ctas},
             {"in_flight", in_flight},
             {"rank", rank}},
            quick);
    };
    for (const int box : {1024, 2048, 4096, 8192, 16384, 32768}) {
        for (const int in_flight : {1, 2, 4, 8}) {
            if (box * in_flight > 128 * 1024) continue;
            read(box, in_flight, 132, 1, box == 16384 && in_flight == 4);
            if (in_flight == 1 || in_flight == 4) read(box, in_flight, 132, 2, box == 16384 && in_flight == 4);
        }
    }
    for (const int box : {1024, 4096, 16384}) {
        for (const int in_flight : {1, 2, 4, 8}) read(box, in_flight, 1, 1);
    }
    for (const int ctas : {8, 66, 264}) read(16384, 4, ctas, 1);
    for (const int ctas : {1, 8, 66, 132, 264}) {
        add(cases, "tma_read",
            {{"bytes", 16 * kMiB},
             {"box_bytes", 16384},
             {"ctas", ctas},
             {"in_flight", 4},
             {"rank", 1},
             {"passes", 2 + ctas / 4}});
    }
    // Below L2's size, twice that, and far beyond: FlashAttention-3's loads of keys and values ask for evict_last.
    for (const char* policy : {"normal", "evict_first", "evict_last"}) {
        for (const long long bytes : {32 * kMiB, 64 * kMiB, 128 * kMiB, 256 * kMiB, kGiB}) {
            add(cases, "tma_read",
                {{"bytes", bytes},
                 {"box_bytes", 16384},
                 {"ctas", 132},
                 {"in_flight", 4},
                 {"rank", 1},
                 {"policy", policy}},
                bytes == 256 * kMiB);
        }
    }
    for (const int box : {2048, 8192, 16384}) {
        add(cases, "copy", {{"bytes", kGiB}, {"path", "tma"}, {"box_bytes", box}, {"ctas", 264}}, box == 16384);
    }
}

}  // namespace

void add_bandwidth_cases(Cases& cases) {
    add_memory(cases);
    add_working_sets(cases);
    add_few_sms(cases);
    add_in_flight(cases);
    add_patterns(cases);
    add_tma(cases);
}

}  // namespace memwall::measure
