#include "trace/trace.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"

namespace memwall::trace {

namespace {

struct DtypeInfo {
    Dtype dtype;
    const char* name;
    int bits;
};

constexpr DtypeInfo kDtypes[] = {{Dtype::fp32, "fp32", 32}, {Dtype::tf32, "tf32", 32}, {Dtype::fp16, "fp16", 16},
                                 {Dtype::bf16, "bf16", 16}, {Dtype::fp8, "fp8", 8},    {Dtype::int8, "int8", 8},
                                 {Dtype::int4, "int4", 4}};

constexpr const char* kRuntimes[] = {"stream", "graph", "pdl", "megakernel"};

constexpr const char* kSteps[] = {
    "loop_begin",  "loop_end",   "acquire",    "load",         "commit",          "wait_full",
    "release",     "mma",        "wait_mma",   "vector",       "store",           "reduce",
    "wait_stores", "wait_reads", "sync_cta",   "sync_cluster", "wait_dependency", "trigger_dependents",
    "chase",       "signal",     "wait_signal"};

/// Allocations begin at 2 MiB boundaries, as the driver's do.
constexpr std::uint64_t kPageBytes = 2ULL << 20;
/// Where the first tensor lies: anywhere but zero.
constexpr std::uint64_t kFirstAddress = 64 * kPageBytes;

}  // namespace

int bits_of(Dtype dtype) {
    return kDtypes[static_cast<std::size_t>(dtype)].bits;
}

const char* name_of(Dtype dtype) {
    return kDtypes[static_cast<std::size_t>(dtype)].name;
}

std::optional<Dtype> dtype_from(const std::string& name) {
    for (const DtypeInfo& info : kDtypes) {
        if (name == info.name) return info.dtype;
    }
    return std::nullopt;
}

const char* name_of(Runtime runtime) {
    return kRuntimes[static_cast<std::size_t>(runtime)];
}

std::optional<Runtime> runtime_from(const std::string& name) {
    for (std::size_t i = 0; i < std::size(kRuntimes); ++i) {
        if (name == kRuntimes[i]) return static_cast<Runtime>(i);
    }
    return std::nullopt;
}

const char* name_of(StepKind kind) {
    return kSteps[static_cast<std::size_t>(kind)];
}

std::optional<StepKind> step_kind_from(const std::string& name) {
    for (std::size_t i = 0; i < std::size(kSteps); ++i) {
        if (name == kSteps[i]) return static_cast<StepKind>(i);
    }
    return std::nullopt;
}

std::uint64_t Tensor::footprint_bytes() const {
    if (paged_dim < 0) return static_cast<std::uint64_t>(shape[0] * stride_bytes[0]);
    // The last page of each table is whole, though its tensor ends inside it.
    const auto paged = static_cast<std::size_t>(paged_dim);
    std::int64_t pages = (shape[paged] + page_extent - 1) / page_extent;
    for (std::size_t d = 0; d < paged; ++d) {
        if (stride_bytes[d] > stride_bytes[paged]) pages *= shape[d];
    }
    return static_cast<std::uint64_t>(pages * page_extent * stride_bytes[paged]);
}

Affine Affine::operator+(const Affine& other) const {
    Affine sum = *this;
    sum.constant += other.constant;
    for (std::size_t i = 0; i < coefficient.size(); ++i) sum.coefficient[i] += other.coefficient[i];
    return sum;
}

Affine Affine::operator*(std::int64_t factor) const {
    Affine product = *this;
    product.constant *= factor;
    for (auto& c : product.coefficient) c *= factor;
    return product;
}

std::int64_t Affine::at(const std::array<std::int64_t, kVars>& vars) const {
    std::int64_t value = constant;
    for (std::size_t i = 0; i < vars.size(); ++i) value += coefficient[i] * vars[i];
    return value;
}

std::int64_t Step::turns(const std::array<std::int64_t, kVars>& vars) const {
    const std::int64_t most = count.at(vars);
    if (!count_limit) return most;
    const std::int64_t limit = std::max<std::int64_t>(0, count_limit->at(vars));
    return std::min(most, (limit + limit_grain - 1) / limit_grain);
}

std::int64_t WorkGrid::cluster_items() const {
    const std::int64_t along = extent[static_cast<std::size_t>(cluster_dim)];
    return items() / along * ((along + cluster - 1) / cluster);
}

std::array<std::int64_t, kWorkDims> WorkGrid::coordinates(std::int64_t index, int rank) const {
    // Along the cluster's dimension an index counts clusters: neighbours differ by their rank.
    std::array<std::int64_t, kWorkDims> clusters = extent;
    const auto along = static_cast<std::size_t>(cluster_dim);
    clusters[along] = (clusters[along] + cluster - 1) / cluster;
    std::array<std::int64_t, kWorkDims> at{};
    at[3] = index % clusters[3];
    index /= clusters[3];
    const std::int64_t plane = clusters[1] * clusters[2];
    at[0] = index / plane;
    const std::int64_t within = index % plane;
    if (panel > 0) {
        const std::int64_t per_panel = panel * clusters[2];
        const std::int64_t first = within / per_panel * panel;
        const std::int64_t height = std::min(panel, clusters[1] - first);
        const std::int64_t in_panel = within - within / per_panel * per_panel;
        at[1] = first + in_panel % height;
        at[2] = in_panel / height;
    } else {
        at[1] = within / clusters[2];
        at[2] = within % clusters[2];
    }
    at[along] = at[along] * cluster + rank;
    return at;
}

void Piece::put_into(std::array<std::int64_t, kVars>& vars) const {
    vars[kWorkDims - 1] = begin;
    if (rest != 0) vars[kWorkDims - 2] = rest;  // else the tile's coordinate stands, which dealt work has as 0
    vars[kVarSteps] = steps;
    vars[kVarPeers] = peers;
}

std::optional<Piece> WorkGrid::piece(std::int64_t unit, std::int64_t units, std::int64_t ordinal) const {
    if (!dealt.empty()) {
        const auto& mine = dealt[static_cast<std::size_t>(unit)];
        return static_cast<std::size_t>(ordinal) < mine.size() ? std::optional(mine[static_cast<std::size_t>(ordinal)])
                                                               : std::nullopt;
    }
    const std::int64_t tiles = cluster_items();
    const std::int64_t over = tiles % units;
    const std::int64_t streamed = over == 0 ? 0 : over + (tiles > units ? units : 0);
    const std::int64_t share = streamed * stream_steps / units, more = streamed * stream_steps % units;
    const auto begin_of = [&](std::int64_t u) { return u * share + std::min(u, more); };
    const auto owner_of = [&](std::int64_t step) {
        const std::int64_t of_larger = more * (share + 1);
        return step < of_larger ? step / (share + 1) : more + (step - of_larger) / share;
    };
    const std::int64_t begin = begin_of(unit), end = begin_of(unit + 1);
    const std::int64_t first_end = std::min(end, (begin / stream_steps + 1) * stream_steps);
    const std::int64_t pieces = begin == end ? 0 : 1 + (end - first_end + stream_steps - 1) / stream_steps;
    if (ordinal >= pieces) {
        const std::int64_t tile = streamed + unit + (ordinal - pieces) * units;
        return tile < tiles ? std::optional(Piece{tile, 0, stream_steps, 0}) : std::nullopt;
    }
    const std::int64_t from = ordinal == 0 ? begin : first_end + (ordinal - 1) * stream_steps;
    const std::int64_t to = ordinal == 0 ? first_end : std::min(end, from + stream_steps);
    Piece piece{from / stream_steps, from % stream_steps, to - from, 0};
    if (piece.begin == 0) piece.peers = owner_of((piece.tile + 1) * stream_steps - 1) - unit;
    return piece;
}

int Kernel::threads() const {
    int warps = 0;
    for (const Role& role : roles) warps += role.instances * role.warps;
    return warps * 32;
}

int Trace::add_tensor(std::string name, Dtype dtype, const std::vector<std::int64_t>& shape) {
    if (shape.empty() || shape.size() > static_cast<std::size_t>(kMaxRank)) {
        throw InputError("tensor " + name, std::to_string(shape.size()) + " dimensions",
                         "1 to " + std::to_string(kMaxRank));
    }
    Tensor tensor;
    tensor.name = std::move(name);
    tensor.dtype = dtype;
    tensor.rank = static_cast<int>(shape.size());
    std::int64_t stride_bits = bits_of(dtype);
    for (std::size_t d = shape.size(); d-- > 0;) {
        if (shape[d] < 1)
            throw InputError("tensor " + tensor.name, fmt::format("an extent of {}", shape[d]), "1 or more");
        tensor.shape[d] = shape[d];
        tensor.stride_bytes[d] = std::max<std::int64_t>(1, stride_bits / 8);
        stride_bits *= shape[d];
    }
    tensor.base = kFirstAddress;
    for (const Tensor& other : tensors) {
        if (!other.view)
            tensor.base = std::max(tensor.base,
                                   (other.base + other.footprint_bytes() + kPageBytes - 1) / kPageBytes * kPageBytes);
    }
    tensors.push_back(std::move(tensor));
    return static_cast<int>(tensors.size()) - 1;
}

std::uint64_t Trace::footprint_bytes() const {
    std::uint64_t bytes = 0;
    for (const Tensor& tensor : tensors) bytes += tensor.view ? 0 : tensor.footprint_bytes();
    return bytes;
}

int Trace::add_view(Tensor view) {
    view.view = true;
    tensors.push_back(std::move(view));
    return static_cast<int>(tensors.size()) - 1;
}

}  // namespace memwall::trace
