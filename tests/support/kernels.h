// Hand-built kernels for tests of the chip: small, with answers that can be worked out.
#pragma once

#include <string>
#include <vector>

#include "chip/chip.h"
#include "device/reader.h"
#include "trace/trace.h"

namespace memwall::test {

using trace::Affine;
using trace::Kernel;
using trace::Step;
using trace::StepKind;
using trace::Trace;

inline device::Device load(const std::string& name, const std::vector<std::string>& overrides = {}) {
    return device::load_device(name, {MEMWALL_SOURCE_DIR "/configs/devices"}, overrides);
}

inline Step step(StepKind kind, int ring = -1) {
    Step s;
    s.kind = kind;
    s.ring = ring;
    return s;
}

inline Step loop(std::int64_t count) {
    Step s = step(StepKind::loop_begin);
    s.count = count;
    return s;
}

struct RingRead {
    std::int64_t bytes = 64 << 20;  ///< of the tensor
    int row_bytes = 1024;           ///< contiguous piece
    int tile_bytes = 16384;
    int stages = 4;
    int ctas = 132;
    int max_sms = 0;
    int passes = 1;              ///< how often each CTA reads its share
    bool shared = false;         ///< every CTA reads all tiles
    double consumer_cycles = 0;  ///< work per tile
    trace::LoadPath path = trace::LoadPath::tma;
};

/// A producer that fills a ring from a tensor and a consumer that empties it: tiles are dealt round-robin to the CTAs.
inline Trace ring_read(const RingRead& r) {
    Trace t;
    const std::int64_t rows = r.bytes / r.row_bytes;
    const int tile_rows = r.tile_bytes / r.row_bytes;
    const std::int64_t tiles = rows / tile_rows;
    const int tensor = t.add_tensor("data", trace::Dtype::int8, {rows, r.row_bytes});
    Kernel k;
    k.name = "ring_read";
    k.op = "read";
    k.ctas = r.ctas;
    for (int sm = 0; sm < r.max_sms; ++sm) k.sms.push_back(sm);
    k.work.extent = {1, 1, r.ctas, 1};
    k.registers_per_thread = 32;
    const bool plain = r.path != trace::LoadPath::tma;
    k.smem_bytes = plain ? 0 : static_cast<std::int64_t>(r.tile_bytes) * r.stages;
    k.rings = {{"tiles", r.stages, r.tile_bytes, 1, plain}};
    // CTA c reads tiles c, c + ctas, ... (or all of them, starting at the first, when shared).
    const std::int64_t per_cta = r.shared ? tiles : (tiles + r.ctas - 1) / r.ctas;
    const int pass_var = trace::kWorkDims, tile_var = trace::kWorkDims + 1;
    (void)pass_var;
    Step load = step(StepKind::load, 0);
    load.tensor = tensor;
    load.path = r.path;
    load.box = {tile_rows, r.row_bytes};
    load.origin[0] =
        r.shared ? Affine::var(tile_var, tile_rows)
                 : Affine::var(tile_var, static_cast<std::int64_t>(tile_rows) * r.ctas) + Affine::var(2, tile_rows);
    Step work = step(StepKind::vector);
    work.vec.latency_cycles = r.consumer_cycles;
    const auto end = step(StepKind::loop_end);
    k.roles = {
        {"producer",
         1,
         1,
         {loop(r.passes), loop(per_cta), step(StepKind::acquire, 0), load, step(StepKind::commit, 0), end, end}},
        {"consumer",
         1,
         4,
         {loop(r.passes), loop(per_cta), step(StepKind::wait_full, 0), work, step(StepKind::release, 0), end, end}}};
    t.kernels.push_back(k);
    return t;
}

/// One chain of dependent accesses from one SM.
inline Trace chase(std::int64_t bytes, std::int64_t stride, std::int64_t accesses, std::int64_t warmup,
                   trace::LoadPath path = trace::LoadPath::plain, int sm = 0) {
    Trace t;
    const int tensor = t.add_tensor("chain", trace::Dtype::int8, {bytes});
    Kernel k;
    k.name = "chase";
    k.op = "pointer_chase";
    k.sms = {sm};
    k.registers_per_thread = 32;
    Step s = step(StepKind::chase);
    s.tensor = tensor;
    s.chase = {trace::ChaseSpace::global, path, bytes, stride, accesses, warmup};
    k.roles = {{"chaser", 1, 1, {s}}};
    t.kernels.push_back(k);
    return t;
}

inline double kernel_us(const Observations& seen, std::size_t kernel = 0) {
    return (seen.kernels[kernel].end - seen.kernels[kernel].first_cta).us();
}

/// Bytes that reached SMs over the kernel's time, in GB/s.
inline double delivered_gbps(const Observations& seen) {
    return static_cast<double>(seen.total.sm_read_bytes) / kernel_us(seen) / 1e3;
}

}  // namespace memwall::test
