#include <cublasLt.h>
#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <algorithm>
#include <stdexcept>
#include <string>

#include "gemm_reference.h"

namespace memwall::measure {

using kernels::DeviceBuffer;
using kernels::Dtype;
using kernels::GemmProblem;

namespace {

/// A warp for each element: reference[r][n] = sum over k of a[rows[r]][k] * b[n][k].
template <class T>
__global__ void reference_kernel(const T* a, const T* b, const int* rows, int row_count, std::int64_t n, std::int64_t k,
                                 float* reference) {
    const std::int64_t warp = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
    if (warp >= n * row_count) return;
    const std::int64_t col = warp / row_count;  // neighbours share a row of b
    const int row = static_cast<int>(warp % row_count);
    const T* x = a + rows[row] * k;
    const T* w = b + col * k;
    float sum = 0;
    for (std::int64_t i = threadIdx.x % 32; i < k; i += 32) {
        sum += static_cast<float>(x[i]) * static_cast<float>(w[i]);
    }
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffff, sum, step);
    if (threadIdx.x % 32 == 0) reference[row * n + col] = sum;
}

__global__ void gather_kernel(const __nv_bfloat16* c, const int* rows, std::int64_t n, __nv_bfloat16* out) {
    const std::int64_t row = rows[blockIdx.y];
    const std::int64_t col = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (col < n) out[blockIdx.y * n + col] = c[row * n + col];
}

std::vector<int> sampled_rows(std::int64_t m, std::uint64_t seed) {
    std::vector<int> rows;
    if (m <= 64) {
        for (int row = 0; row < m; ++row) rows.push_back(row);
        return rows;
    }
    for (std::int64_t first = 0; first < m; first += 64) {
        seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;  // Knuth's MMIX generator
        rows.push_back(static_cast<int>(std::min<std::int64_t>(first + static_cast<std::int64_t>(seed >> 58), m - 1)));
    }
    return rows;
}

template <class T>
void launch_reference(const GemmProblem& p, const int* rows, int row_count, float* reference, cudaStream_t stream) {
    constexpr unsigned kThreads = 256;
    const std::int64_t warps = p.n * row_count;
    const auto blocks = static_cast<unsigned>((warps * 32 + kThreads - 1) / kThreads);
    reference_kernel<<<blocks, kThreads, 0, stream>>>(static_cast<const T*>(p.a), static_cast<const T*>(p.b), rows,
                                                      row_count, p.n, p.k, reference);
    kernels::check(cudaGetLastError(), "reference_kernel");
}

void expect(cublasStatus_t status, const char* what) {
    if (status != CUBLAS_STATUS_SUCCESS) {
        throw std::runtime_error(std::string(what) + ": " + cublasGetStatusString(status));
    }
}

}  // namespace

Check check_product(const GemmProblem& p, double tolerance, std::uint64_t seed, cudaStream_t stream) {
    Check check{"fp32 sums by a plain kernel, a row of every 64", 0, tolerance, ""};
    if (!all_finite(p.c, static_cast<std::size_t>(p.m * p.n), stream)) {
        check.reason = "some of C was not written, or is not finite";
        return check;
    }
    const std::vector<int> rows = sampled_rows(p.m, seed);
    const auto sampled = rows.size() * static_cast<std::size_t>(p.n);
    const DeviceBuffer on_device(rows.size() * sizeof(int)), reference(sampled * sizeof(float)),
        gathered(sampled * sizeof(__nv_bfloat16));
    kernels::check(cudaMemcpyAsync(on_device.as(), rows.data(), on_device.bytes(), cudaMemcpyHostToDevice, stream),
                   "cudaMemcpyAsync");
    const auto count = static_cast<int>(rows.size());
    if (p.dtype == Dtype::bf16) {
        launch_reference<__nv_bfloat16>(p, on_device.as<int>(), count, reference.as<float>(), stream);
    } else {
        launch_reference<__nv_fp8_e4m3>(p, on_device.as<int>(), count, reference.as<float>(), stream);
    }
    const dim3 grid(static_cast<unsigned>((p.n + 255) / 256), static_cast<unsigned>(rows.size()));
    gather_kernel<<<grid, 256, 0, stream>>>(static_cast<const __nv_bfloat16*>(p.c), on_device.as<int>(), p.n,
                                            gathered.as<__nv_bfloat16>());
    kernels::check(cudaGetLastError(), "gather_kernel");
    check.error = relative_error(gathered.as(), reference.as<float>(), sampled, stream);
    return check;
}

std::size_t ProductOperands::bytes(std::int64_t m, std::int64_t n, std::int64_t k, Dtype dtype) {
    return static_cast<std::size_t>(m * k + n * k) * kernels::bytes_of(dtype) + static_cast<std::size_t>(m * n) * 2;
}

ProductOperands::ProductOperands(std::int64_t m, std::int64_t n, std::int64_t k, Dtype dtype, int copies,
                                 Bench& bench) {
    const std::size_t element = kernels::bytes_of(dtype);
    for (int i = 0; i < copies; ++i) {
        DeviceBuffer a(static_cast<std::size_t>(m * k) * element), b(static_cast<std::size_t>(n * k) * element),
            c(static_cast<std::size_t>(m * n) * 2);
        kernels::fill_random(a.as(), static_cast<std::size_t>(m * k), dtype, bench.seed(), bench.stream());
        kernels::fill_random(b.as(), static_cast<std::size_t>(n * k), dtype, bench.seed(), bench.stream());
        kernels::poison(c.as(), c.bytes(), bench.stream());
        problems_.push_back({m, n, k, dtype, a.as(), b.as(), c.as()});
        memory_.push_back(std::move(a));
        memory_.push_back(std::move(b));
        memory_.push_back(std::move(c));
    }
}

/// Column-major as cuBLAS counts: C^T[n,m] = B[n,k] A[m,k]^T, with B transposed and A as it lies.
struct LibraryProduct::State {
    static constexpr std::size_t kWorkspaceBytes = 64 << 20;
    Dtype dtype;
    cublasHandle_t handle = nullptr;
    cublasLtHandle_t light = nullptr;
    cublasLtMatmulDesc_t operation = nullptr;
    DeviceBuffer workspace{kWorkspaceBytes};

    explicit State(Dtype of) : dtype(of) {
        if (dtype == Dtype::bf16) {
            expect(cublasCreate(&handle), "cublasCreate");
            expect(cublasSetWorkspace(handle, workspace.as(), workspace.bytes()), "cublasSetWorkspace");
            return;
        }
        expect(cublasLtCreate(&light), "cublasLtCreate");
        expect(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
        const cublasOperation_t transposed = CUBLAS_OP_T, as_is = CUBLAS_OP_N;
        expect(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed),
               "cublasLtMatmulDescSetAttribute");
        expect(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSB, &as_is, sizeof as_is),
               "cublasLtMatmulDescSetAttribute");
        const std::int8_t fast = 1;  // accumulate as wgmma does, which is what the tile kernel does too
        expect(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast, sizeof fast),
               "cublasLtMatmulDescSetAttribute");
    }
    ~State() {
        if (operation != nullptr) cublasLtMatmulDescDestroy(operation);
        if (light != nullptr) cublasLtDestroy(light);
        if (handle != nullptr) cublasDestroy(handle);
    }

    void launch_light(const GemmProblem& p, cudaStream_t stream);
};

void LibraryProduct::State::launch_light(const GemmProblem& p, cudaStream_t stream) {
    struct Layout {
        cublasLtMatrixLayout_t layout = nullptr;
        Layout(cudaDataType type, std::int64_t rows, std::int64_t cols) {
            expect(cublasLtMatrixLayoutCreate(&layout, type, static_cast<std::uint64_t>(rows),
                                              static_cast<std::uint64_t>(cols), rows),
                   "cublasLtMatrixLayoutCreate");
        }
        ~Layout() { cublasLtMatrixLayoutDestroy(layout); }
    };
    const Layout a(CUDA_R_8F_E4M3, p.k, p.n), b(CUDA_R_8F_E4M3, p.k, p.m), c(CUDA_R_16BF, p.n, p.m);
    cublasLtMatmulPreference_t preference = nullptr;
    expect(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
    const std::size_t most = workspace.bytes();
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most);
    cublasLtMatmulHeuristicResult_t found{};
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(light, operation, a.layout, b.layout, c.layout,
                                                                 c.layout, preference, 1, &found, &count);
    cublasLtMatmulPreferenceDestroy(preference);
    expect(status, "cublasLtMatmulAlgoGetHeuristic");
    if (count == 0) throw std::runtime_error("cuBLASLt has no fp8 algorithm for this shape");
    const float one = 1, zero = 0;
    expect(cublasLtMatmul(light, operation, &one, p.b, a.layout, p.a, b.layout, &zero, p.c, c.layout, p.c, c.layout,
                          &found.algo, workspace.as(), most, stream),
           "cublasLtMatmul");
}

LibraryProduct::LibraryProduct(Dtype dtype) : state_(new State(dtype)) {}

LibraryProduct::~LibraryProduct() {
    delete state_;
}

void LibraryProduct::launch(const GemmProblem& p, cudaStream_t stream) {
    if (state_->dtype != Dtype::bf16) return state_->launch_light(p, stream);
    const float one = 1, zero = 0;
    const auto m = static_cast<int>(p.m), n = static_cast<int>(p.n), k = static_cast<int>(p.k);
    expect(cublasSetStream(state_->handle, stream), "cublasSetStream");
    // Setting a stream takes the workspace away again.
    expect(cublasSetWorkspace(state_->handle, state_->workspace.as(), state_->workspace.bytes()), "cublasSetWorkspace");
    expect(cublasGemmEx(state_->handle, CUBLAS_OP_T, CUBLAS_OP_N, n, m, k, &one, p.b, CUDA_R_16BF, k, p.a, CUDA_R_16BF,
                        k, &zero, p.c, CUDA_R_16BF, n, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
           "cublasGemmEx");
}

}  // namespace memwall::measure
