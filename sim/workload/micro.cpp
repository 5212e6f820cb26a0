// Microbenchmarks: one part of the chip at a time.

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>

#include "base/error.h"
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

}  // namespace

void append_tma_read(trace::Trace& trace, const OpSpec& op, const device::Device& device) {
    const std::int64_t box = op.number("box_bytes"), ctas = op.number("ctas"), in_flight = op.number("in_flight");
    const std::int64_t rank = op.number("rank", 1);
    if (rank > 3) throw InputError("operation tma_read, rank", std::to_string(rank), "1, 2 or 3");
    if (box % 16 != 0) throw InputError("operation tma_read, box_bytes", std::to_string(box), "a multiple of 16 bytes");
    check_smem("tma_read", box, fmt::format("box of {}", box), static_cast<int>(in_flight), 0, device);
    // 1-D: a box is consecutive. 2-D: rows of 256 bytes in a matrix 4 KiB wide. 3-D: the same in planes of 8 rows.
    const std::int64_t row = rank == 1 ? std::min<std::int64_t>(box, 1024) : std::min<std::int64_t>(box, 256);
    const std::int64_t rows = box / row;
    const std::int64_t boxes = std::max<std::int64_t>(1, op.number("bytes") / box);
    const std::int64_t share = ceil_div(boxes, ctas);
    trace::Kernel k = micro_kernel("tma_read");
    k.work.extent = {1, 1, ctas, 1};
    k.ctas = ctas;
    k.smem_bytes = box * in_flight;
    k.rings = {{"boxes", static_cast<int>(in_flight), box, 1, false}};
    const Affine which = turn(0, ctas) + item(2);
    Step load;
    if (rank == 1) {
        const int tensor = trace.add_tensor("data", trace::Dtype::int8, {boxes * rows, row});
        load = move(StepKind::load, 0, tensor, {which * rows, 0}, {rows, row}, LoadPath::tma);
    } else {
        // Matrix of 16 columns of boxes; box i is at row block i / 16, column i mod 16: as an outer dimension of its
        // own.
        const std::int64_t columns = 4096 / row;
        const std::int64_t planes = rank == 3 ? std::min<std::int64_t>(rows, 8) : 1;
        trace::Tensor tensor;
        const int backing = trace.add_tensor("data", trace::Dtype::int8, {ceil_div(boxes, columns) * rows, 4096});
        tensor = trace.tensors[static_cast<std::size_t>(backing)];
        tensor.rank = rank == 3 ? 5 : 4;
        if (rank == 3) {
            tensor.shape = {ceil_div(boxes, columns), columns, rows / planes, planes, row};
            tensor.stride_bytes = {4096 * rows, row, 4096 * planes, 4096, 1};
        } else {
            tensor.shape = {ceil_div(boxes, columns), columns, rows, row};
            tensor.stride_bytes = {4096 * rows, row, 4096, 1};
        }
        const int view = trace.add_view(tensor);
        // CTAs walk columns of the same row block together.
        const trace::Extents box_shape =
            rank == 3 ? trace::Extents{1, 1, rows / planes, planes, row} : trace::Extents{1, 1, rows, row};
        load = move(StepKind::load, 0, view, {turn(0, std::max<std::int64_t>(1, ctas / columns)), item(2)}, box_shape,
                    LoadPath::tma);
        load.origin[1] = item(2);
        k.work.extent = {1, ceil_div(ctas, columns), std::min(ctas, columns), 1};
        k.ctas = k.work.items();
        load.origin[0] = turn(0, k.work.extent[1]) + item(1);
    }
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
        used != static_cast<int>(text.size()) || shape.m != 64 || shape.n < 8 || shape.n > 256 || shape.n % 8 != 0) {
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
    // One round fills the caches, a second is measured, up to a bound: beyond L2 every access misses anyway.
    constexpr std::int64_t kMost = 400'000, kSampled = 20'000;
    const std::int64_t round = std::max<std::int64_t>(1, bytes / stride);
    const auto l2_bytes = static_cast<std::int64_t>(device.l2.slices) * device.l2.slice_bytes;
    const bool resident = bytes <= 4 * l2_bytes;
    chase.chase.warmup_accesses = resident ? std::min(round, kMost) : 0;
    chase.chase.accesses = op.number("accesses", resident ? std::clamp<std::int64_t>(round, 256, kMost) : kSampled);
    const std::int64_t chains = op.number("chains", 1);
    if (chains > 1) {
        // Loaded latency: as many independent chains, one per warp, over all SMs; the chains start at different places.
        k.work.extent = {1, 1, chains, 1};
        k.ctas = chains;
        chase.chase.warmup_accesses = 0;
        chase.origin[0] = item(2, 7919);
    } else {
        k.only_sm = static_cast<int>(op.number("sm", 0));
        if (k.only_sm >= device.sms())
            throw InputError("operation pointer_chase, sm", std::to_string(k.only_sm),
                             fmt::format("0 to {}", device.sms() - 1));
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
