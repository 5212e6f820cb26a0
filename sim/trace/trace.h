// What kernels do, tile by tile, before anyone says how long it takes. Plain data: a trace file (memwall-trace/1) is
// its serialisation. Loops are kept as loops, so the trace of a 70B layer is a few kilobytes.
//
// A Trace is a list of kernels in stream order over a set of tensors. A kernel is a grid of CTAs that all run the same
// few *roles* (a producer warp, some consumer warpgroups). A role is a short list of steps with loops; its tile
// coordinates are affine in the work item's coordinates and the loop counters.
//
// Roles meet at *rings*: a ring of S stages, each with a full barrier (armed by `commit`, completed when the bytes of
// the stage's loads have landed) and an empty barrier (completed when every consumer role has released the stage).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace memwall::trace {

enum class Dtype : std::uint8_t { fp32, tf32, fp16, bf16, fp8, int8, int4 };

/// Bits of one element in memory (tf32 is stored in 32).
[[nodiscard]] int bits_of(Dtype dtype);
[[nodiscard]] const char* name_of(Dtype dtype);
/// Nullopt when `name` is no dtype.
[[nodiscard]] std::optional<Dtype> dtype_from(const std::string& name);

/// How L2 treats a tensor's lines.
enum class CachePolicy : std::uint8_t { normal, evict_first, evict_last };

inline constexpr int kMaxRank = 5;  // a tensor map has 1 to 5 dimensions (CUDA driver API)
using Extents = std::array<std::int64_t, kMaxRank>;

/// A tensor in global memory. Dimension 0 is the slowest; the last of `rank` has unit stride.
struct Tensor {
    std::string name;
    std::uint64_t base = 0;  ///< byte address
    Dtype dtype = Dtype::bf16;
    int rank = 1;
    Extents shape{};         ///< elements per dimension
    Extents stride_bytes{};  ///< bytes between neighbours per dimension; the last equals the element size
    CachePolicy policy = CachePolicy::normal;
    bool view = false;  ///< another shape of memory that an earlier tensor holds
    /// Paged tensors (a KV cache): dimension `paged_dim` is cut into pages of `page_extent` entries, and page p of the
    /// tensor is found at page slot permute(p): scattered over the same footprint by a seeded permutation. Dimensions
    /// with a smaller stride lie inside the page; each coordinate of those with a larger one has pages of its own.
    int paged_dim = -1;
    std::int64_t page_extent = 0;

    [[nodiscard]] std::uint64_t footprint_bytes() const;
};

/// An integer that is affine in the variables of a role: constant + sum of coefficient * variable.
/// Variables 0..kWorkDims-1 are the work item's coordinates; then come the loop counters, by loop depth.
inline constexpr int kWorkDims = 4;
inline constexpr int kLoopDepth = 4;
inline constexpr int kVarCta = kWorkDims + kLoopDepth;  ///< the CTA's index in the grid
inline constexpr int kVarClusterRank = kVarCta + 1;     ///< the CTA's rank in its cluster
inline constexpr int kVarInstance = kVarCta + 2;        ///< which instance of its role (warpgroup index)
inline constexpr int kVarSteps = kVarCta + 3;           ///< Stream-K: steps of k of the piece in progress
inline constexpr int kVarPeers = kVarCta + 4;           ///< Stream-K: later CTAs that do the rest of its tile
inline constexpr int kVars = kVarPeers + 1;

struct Affine {
    std::int64_t constant = 0;
    std::array<std::int64_t, kVars> coefficient{};

    Affine() = default;
    Affine(std::int64_t value) : constant(value) {}  // NOLINT: a number is an affine expression
    static Affine var(int index, std::int64_t coefficient = 1) {
        Affine a;
        a.coefficient[static_cast<std::size_t>(index)] = coefficient;
        return a;
    }
    Affine operator+(const Affine& other) const;
    Affine operator*(std::int64_t factor) const;
    [[nodiscard]] std::int64_t at(const std::array<std::int64_t, kVars>& vars) const;
};

enum class StepKind : std::uint8_t {
    loop_begin,  ///< `count` iterations (at least 0; see Step::turns), counter in variable
                 ///< kWorkDims+depth
    loop_end,
    acquire,      ///< wait until the role's next stage of `ring` is empty
    load,         ///< bring `box` of `tensor` at `origin` into the acquired stage of `ring`
    commit,       ///< arm the stage's full barrier with the bytes of the loads since `acquire`
    wait_full,    ///< wait until the role's next stage of `ring` is full
    release,      ///< arrive on the empty barrier of the oldest stage that this role holds
    mma,          ///< asynchronous tensor-core work on `mma`; completes in order
    wait_mma,     ///< wait until at most `count` of this role's mma steps are unfinished
    vector,       ///< work of the vector units, SFU and shared memory, `vec`
    store,        ///< write `box` of `tensor` at `origin` (asynchronous)
    reduce,       ///< like store, but added into L2 (split-K)
    wait_stores,  ///< wait until this role's stores have been accepted by L2
    wait_reads,   ///< wait until they have been read: from shared memory (bulk.wait_group.read) or from registers
    sync_cta,     ///< barrier among all roles of the CTA
    sync_cluster,
    wait_dependency,     ///< griddepcontrol.wait: until the previous kernel has completed and its writes are visible
    trigger_dependents,  ///< griddepcontrol.launch_dependents: the next kernel may begin when all CTAs said so or left
    chase,               ///< dependent accesses, see ChaseShape
    signal,              ///< set flag `origin[0]` of the kernel, in L2: red.release.gpu after the role's stores
    wait_signal,         ///< poll that flag with ld.acquire.gpu until it is set; one role waits for a flag
};
[[nodiscard]] const char* name_of(StepKind kind);
/// Nullopt when `name` is no step.
[[nodiscard]] std::optional<StepKind> step_kind_from(const std::string& name);

enum class LoadPath : std::uint8_t {
    tma,       ///< bulk tensor copy by the TMA engine
    plain,     ///< ld.global by the threads of the role, past L1 (ld.cg)
    plain_l1,  ///< ld.global through L1 (ld.ca)
};

/// Tensor-core work: one wgmma group m x n x k, issued as instructions m64 n k(32 bytes) by one warpgroup.
struct MmaShape {
    int m = 64, n = 256, k = 64;
    Dtype dtype = Dtype::bf16;
    bool a_from_registers = false;
};

/// Work outside the tensor cores, for the whole role instance, per execution of the step.
struct VectorShape {
    double fp32_ops = 0;        ///< fp32 lane-operations (an FMA is one)
    double sfu_ops = 0;         ///< exponentials, reciprocals, square roots
    double smem_bytes = 0;      ///< shared-memory bytes read or written by the threads
    double latency_cycles = 0;  ///< dependent latency that no throughput hides (shuffles, barriers of a reduction)
};

enum class ChaseSpace : std::uint8_t { global, shared, distributed };
/// A chain of dependent accesses. Global: a random cyclic permutation over `bytes` of the tensor in units of
/// `stride_bytes`; shared and distributed: the latency of the SM's own or of a cluster peer's shared memory.
struct ChaseShape {
    ChaseSpace space = ChaseSpace::global;
    LoadPath path = LoadPath::plain;
    std::int64_t bytes = 0;
    std::int64_t stride_bytes = 128;
    std::int64_t accesses = 0;
    std::int64_t warmup_accesses = 0;  ///< first accesses that are not counted (they fill the caches)
    std::int64_t access_bytes = 32;    ///< one lane loads a sector, a warp a line, several loads a run of lines
};

struct Step {
    StepKind kind = StepKind::load;
    int ring = -1;
    int tensor = -1;
    LoadPath path = LoadPath::tma;
    std::array<Affine, kMaxRank> origin{};
    Extents box{};             ///< elements per dimension; clipped at the tensor's edge
    int piece_bytes = 0;       ///< of a row, what one instruction of a warp reaches, a power of two; 0: all of it
    int multicast_ctas = 1;    ///< > 1: this CTA loads its 1/multicast share of the box (cut along the first
                               ///< dimension whose extent divides) and every CTA of its multicast group gets it all
    int multicast_stride = 1;  ///< cluster ranks r with equal (r mod stride, r / (stride*ctas)) share a group
    Affine count{1};           ///< loop iterations, or wait_mma's allowance
    std::optional<Affine> count_limit;  ///< loops: an upper bound (causal attention); the smaller counts
    std::int64_t limit_grain = 1;       ///< what one turn is of `count_limit`: ceil(limit / grain) turns at most
    MmaShape mma;
    VectorShape vec;
    ChaseShape chase;

    /// Turns of the loop that this step begins; 0 or less: none.
    [[nodiscard]] std::int64_t turns(const std::array<std::int64_t, kVars>& vars) const;
};

struct Ring {
    std::string name;
    int stages = 1;
    std::int64_t stage_bytes = 0;  ///< shared memory of one stage
    int consumers = 1;             ///< role instances (over the whole multicast group) that must release a stage
    bool registers = false;        ///< the stages live in registers (plain loads): they take no shared memory
};

struct Role {
    std::string name;
    int instances = 1;  ///< e.g. two consumer warpgroups
    int warps = 4;      ///< warps of one instance
    std::vector<Step> steps;
    int first = 0;  ///< number of the first instance, where several roles are the instances of one
};

/// A work item that is part of a tile. Under Stream-K: a run of steps of k. Dealt by a table: the numbers that a
/// scheduler left for it, whose meaning is the kernel's.
struct Piece {
    std::int64_t tile;   ///< as an index of WorkGrid::coordinates
    std::int64_t begin;  ///< first step; under Stream-K a piece that begins at 0 finishes its tile
    std::int64_t steps;
    std::int64_t peers;     ///< of a piece that begins at 0: the next units, so many, do the rest of the tile
    std::int64_t rest = 0;  ///< dealt by a table only: variable kWorkDims - 2

    /// Puts what a role's steps see of the piece, beside the tile's coordinates, into its variables.
    void put_into(std::array<std::int64_t, kVars>& vars) const;
};

/// How the work items of a kernel are dealt to its CTAs.
struct WorkGrid {
    std::array<std::int64_t, kWorkDims> extent{1, 1, 1, 1};  ///< items per dimension; dimension 0 is the slowest
    std::array<std::string, kWorkDims> names{};
    /// Rasterisation of dimensions 1 and 2 in panels: `panel` consecutive items of dimension 1 are walked for each item
    /// of dimension 2 (L2 sees a panel of A against a sweep of B). 0: plain row-major.
    std::int64_t panel = 0;
    bool persistent = false;  ///< each CTA takes items cta, cta + ctas, ...
    bool dynamic = false;     ///< persistent too, but after its first a CTA takes the next item that nobody has taken
    int cluster = 1;          ///< CTAs per cluster: consecutive items along `cluster_dim`
    int cluster_dim = 1;
    /// Spread of one item's share: consecutive CTAs take consecutive items when false; one contiguous block each if
    /// true.
    bool blocked = false;
    /// Stream-K (Osama et al., arXiv 2301.03598): the steps of k of a tile; 0: each item is a whole tile. A unit is a
    /// cluster. What whole waves leave over, with one wave more where there is one, is dealt out in equal runs of
    /// steps, which begin and end inside tiles; then come whole tiles. Dimension 3 counts steps.
    std::int64_t stream_steps = 0;
    /// What each CTA does, in order, where a scheduler has dealt it out beforehand (FlashMLA's metadata): an entry for
    /// each CTA of the grid, which may be empty. Dimensions 2 and 3 are then the pieces' own.
    std::vector<std::vector<Piece>> dealt;

    /// Are work items parts of tiles?
    [[nodiscard]] bool in_pieces() const { return stream_steps > 0 || !dealt.empty(); }
    /// Piece `ordinal` (0, 1, ...) of `unit`, one of `units`; nullopt when it has no more. Needs in_pieces().
    [[nodiscard]] std::optional<Piece> piece(std::int64_t unit, std::int64_t units, std::int64_t ordinal) const;
    [[nodiscard]] std::int64_t items() const { return extent[0] * extent[1] * extent[2] * extent[3]; }
    /// Items as dealt to clusters: neighbours along `cluster_dim` count as one (and may reach beyond its extent).
    [[nodiscard]] std::int64_t cluster_items() const;
    /// Coordinates of work item `index` of CTA cluster rank `rank` (index counts clusters when cluster > 1).
    [[nodiscard]] std::array<std::int64_t, kWorkDims> coordinates(std::int64_t index, int rank) const;
};

struct Kernel {
    std::string name;  ///< e.g. layers.0.q_proj
    std::string op;    ///< operation name of the contract
    /// Of the operation, by the contract's names, that this kernel is or begins. None: it is no operation by itself,
    /// such as the fold of a split product, or one that no model has.
    std::vector<std::pair<std::string, std::string>> params;
    WorkGrid work;
    std::int64_t ctas = 1;       ///< grid size in CTAs, a multiple of the cluster
    int ctas_per_sm_limit = 32;  ///< the launch bounds' wish; occupancy may be lower
    std::vector<int> sms;        ///< a microbenchmark's placement: the only SMs that may run it; empty: any
    int registers_per_thread = 128;
    std::int64_t smem_bytes = 0;  ///< per CTA, dynamic and static, without the reserved 1 KB
    std::vector<Ring> rings;
    std::vector<Role> roles;

    double flops = 0;                          ///< of the whole kernel, multiply and add counted apart
    Dtype math_dtype = Dtype::bf16;            ///< whose peak the compute roofline uses
    bool tensor_cores = false;                 ///< the FLOPs are tensor-core FLOPs
    std::uint64_t compulsory_read_bytes = 0;   ///< each input once
    std::uint64_t compulsory_write_bytes = 0;  ///< each output once
    // The schedule, for reports.
    std::array<int, 3> tile{0, 0, 0};
    int stages = 0;
    int split = 1;

    [[nodiscard]] int threads() const;
};

/// How one kernel follows another.
enum class Runtime : std::uint8_t { stream, graph, pdl, megakernel };
[[nodiscard]] const char* name_of(Runtime runtime);
[[nodiscard]] std::optional<Runtime> runtime_from(const std::string& name);

struct Trace {
    std::vector<Tensor> tensors;
    std::vector<Kernel> kernels;
    Runtime runtime = Runtime::graph;
    /// Kernels before this index prepare (fill L2, allocate): they run, and the result does not count them.
    std::size_t warmup_kernels = 0;

    /// Adds a tensor after the last one, aligned to 2 MiB pages as the driver's allocator does, and returns its index.
    int add_tensor(std::string name, Dtype dtype, const std::vector<std::int64_t>& shape);
    /// Adds another shape of memory that a tensor already holds, and returns its index.
    int add_view(Tensor view);
    /// Of all its tensors together.
    [[nodiscard]] std::uint64_t footprint_bytes() const;
};

}  // namespace memwall::trace
