// Microbenchmarks: one part of the chip at a time.

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "device/floorplan.h"
#include "workload/ops.h"
#include "workload/steps.h"

namespace memwall::workload {

namespace {

using trace::LoadPath;

trace::Kernel micro_kernel(const std::string& op) {
    trace::Kernel k;
    k.name = k.op = op;
    k.registers_per_thread = 32;
    return k;
}

// Boxes of a matrix: rows of 256 bytes, cut from matrix rows of up to 4 KiB.
constexpr std::int64_t kBoxRowBytes = 256, kMostColumns = 16;

/// Columns of boxes: as many as divide the CTAs evenly, so that neighbouring CTAs take neighbouring columns.
std::int64_t columns_of(std::int64_t ctas) {
    std::int64_t columns = std::min(ctas, kMostColumns);
    while (ctas % columns != 0) --columns;
    return columns;
}

/// A load of a 2-D box of `rows`, or of a 3-D one whose planes are 8 rows. The tensor's outer dimensions number the
/// boxes (block of rows, column), so that their coordinates are affine.
Step matrix_box(trace::Trace& trace, std::int64_t blocks, std::int64_t columns, std::int64_t rows, std::int64_t rank) {
    const std::int64_t matrix_row = columns * kBoxRowBytes;
    const int backing = trace.add_tensor("data", trace::Dtype::int8, {blocks * rows, matrix_row});
    trace::Tensor tensor = trace.tensors[static_cast<std::size_t>(backing)];
    const std::int64_t plane = rank == 3 && rows % 8 == 0 ? 8 : 1;
    tensor.rank = 5;
    tensor.shape = {blocks, columns, rows / plane, plane, kBoxRowBytes};
    tensor.stride_bytes = {matrix_row * rows, kBoxRowBytes, matrix_row * plane, matrix_row, 1};
    return move(StepKind::load, 0, trace.add_view(tensor), {}, {1, 1, rows / plane, plane, kBoxRowBytes},
                LoadPath::tma);
}

trace::CachePolicy policy_of(const OpSpec& op) {
    const std::string word = op.word("policy", "normal", {"normal", "evict_first", "evict_last"});
    if (word == "normal") return trace::CachePolicy::normal;
    return word == "evict_last" ? trace::CachePolicy::evict_last : trace::CachePolicy::evict_first;
}

}  // namespace

void append_tma_read(trace::Trace& trace, const OpSpec& op, const device::Device& device) {
    const std::int64_t box = op.number("box_bytes"), ctas = op.number("ctas"), in_flight = op.number("in_flight");
    const std::int64_t rank = op.number("rank", 1);
    if (rank > 3) throw InputError("operation tma_read, rank", std::to_string(rank), "1, 2 or 3");
    if (box % 16 != 0 || (rank > 1 && box % kBoxRowBytes != 0)) {
        throw InputError("operation tma_read, box_bytes", std::to_string(box),
                         rank > 1 ? fmt::format("a multiple of {}: rows of a box", kBoxRowBytes) : "a multiple of 16");
    }
    check_smem("tma_read", box, fmt::format("a box of {} bytes", box), static_cast<int>(in_flight), 0, device);
    const std::int64_t boxes = std::max<std::int64_t>(1, op.number("bytes") / box);
    trace::Kernel k = micro_kernel("tma_read");
    k.work.extent = {1, 1, ctas, 1};
    k.smem_bytes = box * in_flight;
    k.rings = {{"boxes", static_cast<int>(in_flight), box, 1, false}};
    Step load;
    if (rank == 1) {
        const int tensor = trace.add_tensor("data", trace::Dtype::int8, {boxes * box});
        load = move(StepKind::load, 0, tensor, {(turn(0, ctas) + item(2)) * box}, {box}, LoadPath::tma);
    } else {
        const std::int64_t columns = columns_of(ctas);
        k.work.extent = {1, ctas / columns, columns, 1};
        load = matrix_box(trace, ceil_div(boxes, columns), columns, box / kBoxRowBytes, rank);
        load.origin[0] = turn(0, k.work.extent[1]) + item(1);
        load.origin[1] = item(2);
    }
    trace.tensors[static_cast<std::size_t>(load.tensor)].policy = policy_of(op);
    k.ctas = ctas;
    const std::int64_t share = ceil_div(boxes, ctas);
    k.roles = {{"producer", 1, 1, {loop(share), acquire(0), load, commit(0), end_loop()}},
               {"consumer", 1, 1, {loop(share), wait_full(0), release(0), end_loop()}}};
    k.compulsory_read_bytes = static_cast<std::uint64_t>(boxes * box);
    trace.kernels.push_back(std::move(k));
}

void append_wgmma(trace::Trace& trace, const OpSpec& op, const device::Device& device) {
    trace::MmaShape shape;
    const std::string& text = *op.find("shape");
    int used = 0;
    if (std::sscanf(text.c_str(), "m%dn%dk%d%n", &shape.m, &shape.n, &shape.k, &used) != 3 ||
        used != static_cast<int>(text.size()) || shape.m != 64 || shape.n < 8 || shape.n > 256 || shape.n % 8 != 0 ||
        shape.k != 256 / trace::bits_of(op.dtype())) {
        throw InputError("operation wgmma, shape", fmt::format("\"{}\"", text),
                         "m64n<8 to 256 by 8>k<16 for 16 bit, 32 for 8 bit, 8 for tf32>");
    }
    shape.dtype = op.dtype();
    shape.a_from_registers = op.word("operand_a", "shared", {"shared", "register"}) == "register";
    constexpr int kChain = 64, kTurns = 64;
    trace::Kernel k = micro_kernel("wgmma");
    k.work.extent = {1, 1, device.sms(), 1};
    k.ctas = device.sms();
    k.registers_per_thread = 168;
    k.smem_bytes = 64 << 10;
    // A chain of instructions is issued as one step, so that their issue overlaps their work as it does on the chip.
    trace::MmaShape chain = shape;
    chain.k = shape.k * kChain;
    k.roles = {{"warpgroup", 1, 4, {loop(kTurns), mma(chain), wait_mma(1), end_loop(), wait_mma(0)}}};
    k.flops = 2.0 * 64 * shape.n * shape.k * kChain * kTurns * device.sms();
    k.math_dtype = shape.dtype;
    k.tensor_cores = true;
    trace.kernels.push_back(std::move(k));
}

void append_launch(trace::Trace& trace, const OpSpec& op) {
    trace.runtime = op.runtime(trace::Runtime::stream);
    const std::int64_t kernels = op.number("kernels", 20);
    const std::int64_t bytes = op.number("bytes", 64 << 10);
    // Small kernels in a row: each reads and writes `bytes` in all (RRZE gpu-small-kernels).
    constexpr std::int64_t kBlock = 4096;
    const std::int64_t blocks = std::max<std::int64_t>(1, bytes / 2 / kBlock);
    const int in = trace.add_tensor("in", trace::Dtype::int8, {blocks, kBlock});
    const int out = trace.add_tensor("out", trace::Dtype::int8, {blocks, kBlock});
    for (std::int64_t i = 0; i <= kernels; ++i) {
        trace::Kernel k = micro_kernel("launch");
        k.name = fmt::format("launch.{}", i);
        k.work.extent = {1, 1, blocks, 1};
        k.ctas = blocks;
        k.rings = {{"registers", 1, kBlock, 1, true}};
        k.roles = {{"threads",
                    1,
                    8,
                    {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency), acquire(0),
                     move(StepKind::load, 0, in, {item(2), 0}, {1, kBlock}, LoadPath::plain), commit(0), wait_full(0),
                     move(StepKind::store, -1, out, {item(2), 0}, {1, kBlock}, LoadPath::plain), release(0)}}};
        k.compulsory_read_bytes = i == 0 ? static_cast<std::uint64_t>(blocks * kBlock) : 0;
        trace.kernels.push_back(std::move(k));
    }
    trace.warmup_kernels = 1;  // the first one finds nothing in L2
}

namespace {

/// A kernel ahead of the measured one that brings all of the chain into L2: into the half of every SM, or with `far`
/// into the second half alone, while the measured chains run at the first: what is at home there is then a far hit,
/// once.
void warm_up(trace::Trace& trace, const Step& chase, std::int64_t round, bool far, trace::Kernel& measured,
             const device::Device& device) {
    const device::Floorplan plan(device);
    std::array<std::vector<int>, 2> halves;
    for (int sm = 0; sm < device.sms(); ++sm)
        halves.at(static_cast<std::size_t>(plan.partition_of_sm(sm))).push_back(sm);
    trace::Kernel k = micro_kernel("pointer_chase");
    k.name = "pointer_chase.warmup";
    k.sms = far ? std::vector{halves[1][0]} : std::vector{halves[0][0], halves[1][0]};
    k.ctas_per_sm_limit = 1;
    k.ctas = static_cast<std::int64_t>(k.sms.size());
    k.work.extent = {1, 1, k.ctas, 1};
    Step all = chase;
    all.chase.warmup_accesses = round;
    all.chase.accesses = 0;
    all.origin[0] = 0;
    k.roles = {{"chaser", 1, 1, {all}}};
    trace.kernels.push_back(std::move(k));
    trace.warmup_kernels = 1;
    if (far) measured.sms = halves[0];
}

}  // namespace

void append_pointer_chase(trace::Trace& trace, const OpSpec& op, const device::Device& device) {
    const std::int64_t bytes = op.number("bytes");
    const std::int64_t stride = op.number("stride", 128);
    if (stride > bytes || stride < 4)
        throw InputError("operation pointer_chase, stride", std::to_string(stride),
                         fmt::format("4 to the {} bytes of the chain", bytes));
    const std::string access = op.word("access", "ld", {"ld", "tma", "l1", "shared"});
    trace::Kernel k = micro_kernel("pointer_chase");
    Step chase = simple(StepKind::chase);
    chase.tensor = trace.add_tensor("chain", trace::Dtype::int8, {bytes});
    chase.chase.space = access == "shared" ? trace::ChaseSpace::shared : trace::ChaseSpace::global;
    chase.chase.path = access == "tma" ? LoadPath::tma : access == "l1" ? LoadPath::plain_l1 : LoadPath::plain;
    chase.chase.bytes = bytes;
    chase.chase.stride_bytes = stride;
    chase.chase.access_bytes = op.number("access_bytes", device.l2.sector_bytes);
    if (stride % chase.chase.access_bytes != 0 || device.l2.interleave_bytes % chase.chase.access_bytes != 0) {
        throw InputError("operation pointer_chase, access_bytes", std::to_string(chase.chase.access_bytes),
                         fmt::format("what divides the stride, {}, and a granule of the address map, {}", stride,
                                     device.l2.interleave_bytes));
    }
    // One round fills the caches, a second is measured, up to a bound: beyond L2 every access misses anyway.
    constexpr std::int64_t kMost = 400'000, kSampled = 20'000;
    const std::int64_t round = std::max<std::int64_t>(1, bytes / stride);
    const auto l2_bytes = static_cast<std::int64_t>(device.l2.slices) * device.l2.slice_bytes;
    const bool resident = bytes <= 4 * l2_bytes;
    chase.chase.warmup_accesses = resident ? std::min(round, kMost) : 0;
    chase.chase.accesses = op.number("accesses", resident ? std::clamp<std::int64_t>(round, 256, kMost) : kSampled);
    const std::int64_t chains = op.number("chains", 1);
    const std::string warm = op.word("warm", "none", {"none", "near", "far"});
    if (chains > 1) {
        // Loaded latency: as many independent chains, one per warp, over all SMs; the chains start at different places.
        k.work.extent = {1, 1, chains, 1};
        k.ctas = chains;
        chase.chase.warmup_accesses = 0;
        chase.origin[0] = item(2, 7919);
        if (warm != "none") warm_up(trace, chase, round, warm == "far", k, device);
    } else {
        const auto sm = static_cast<int>(op.number("sm", 0));
        if (sm >= device.sms()) {
            throw InputError("operation pointer_chase, sm", std::to_string(sm),
                             fmt::format("0 to {}", device.sms() - 1));
        }
        k.sms = {sm};
    }
    k.roles = {{"chaser", 1, 1, {chase}}};
    k.compulsory_read_bytes = 0;
    trace.kernels.push_back(std::move(k));
}

void append_dsmem_chase(trace::Trace& trace, const OpSpec& op) {
    const std::int64_t cluster = op.number("cluster_size");
    if (cluster > 16) throw InputError("operation dsmem_chase, cluster_size", std::to_string(cluster), "1 to 16");
    trace::Kernel k = micro_kernel("dsmem_chase");
    k.work.extent = {1, cluster, 1, 1};
    k.work.cluster = static_cast<int>(cluster);
    k.ctas = cluster;
    k.smem_bytes = 4096;
    Step chase = simple(StepKind::chase);
    chase.chase.space = cluster > 1 ? trace::ChaseSpace::distributed : trace::ChaseSpace::shared;
    chase.chase.accesses = 1000;
    k.roles = {{"chaser", 1, 1, {chase}}};
    trace.kernels.push_back(std::move(k));
}

}  // namespace memwall::workload
