#include "workload/op_spec.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"

namespace memwall::workload {
namespace {

std::string refusal(const std::string& text) {
    try {
        const OpSpec op = parse_op(text);
        (void)op.number("m");
        (void)op.dtype();
    } catch (const InputError& error) {
        return error.what();
    }
    return "";
}

void expect_in(const std::string& part, const std::string& whole) {
    EXPECT_NE(whole.find(part), std::string::npos) << whole;
}

TEST(ParseOp, ReadsKeysAndValues) {
    const OpSpec op = parse_op("gemm m=1 n=4096 k=4096 dtype=fp8 out_dtype=bf16 split=4");
    EXPECT_EQ(op.op(), "gemm");
    EXPECT_EQ(op.number("n"), 4096);
    EXPECT_EQ(op.number("batch", 1), 1);
    EXPECT_EQ(op.dtype(), trace::Dtype::fp8);
    EXPECT_EQ(op.dtype("out_dtype"), trace::Dtype::bf16);
    EXPECT_EQ(parse_op("  read   bytes=64 ").number("bytes"), 64);
}

TEST(ParseOp, NamesWhatIsWrong) {
    expect_in("found \"gem\"; allowed: gemm, attention_prefill", refusal("gem m=1"));
    expect_in("found \"\"; allowed: gemm", refusal(""));
    expect_in("operation gemm: found key \"q\"; allowed: m, n, k, dtype", refusal("gemm m=1 n=1 k=1 q=2 dtype=bf16"));
    expect_in("operation gemm: found no \"k\"; allowed: required: m, n, k, dtype", refusal("gemm m=1 n=1 dtype=bf16"));
    expect_in("key \"m\" twice", refusal("gemm m=1 m=2 n=1 k=1 dtype=bf16"));
    expect_in("found \"m\"; allowed: key=value", refusal("gemm m"));
    expect_in("operation gemm, m: found \"-4\"; allowed: a positive integer", refusal("gemm m=-4 n=1 k=1 dtype=bf16"));
    expect_in("found 0", refusal("gemm m=0 n=1 k=1 dtype=bf16"));
    expect_in("found \"1e3\"", refusal("gemm m=1e3 n=1 k=1 dtype=bf16"));
    expect_in("operation gemm, dtype: found \"half\"; allowed: fp32, tf32, fp16",
              refusal("gemm m=1 n=1 k=1 dtype=half"));
}

TEST(ParseOp, KnowsEveryOperationOfTheContract) {
    const auto names = op_names();
    for (const char* name : {"gemm", "attention_prefill", "attention_decode", "rmsnorm", "softmax", "elementwise",
                             "stream", "copy", "read", "write", "tma_read", "wgmma", "launch", "pointer_chase",
                             "dsmem_chase", "model_decode", "model_prefill"}) {
        EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
    }
}

TEST(ParseTile, TakesThreePositiveNumbers) {
    EXPECT_EQ(parse_tile("128x256x64", "--tile"), (std::array<int, 3>{128, 256, 64}));
    EXPECT_EQ(parse_tile("128,256,64", "--tile"), (std::array<int, 3>{128, 256, 64}));
    for (const char* bad : {"128x256", "0x256x64", "128x256x64x1", "axbxc", "", "-1x2x3"}) {
        EXPECT_THROW(parse_tile(bad, "--tile"), InputError) << bad;
    }
}

}  // namespace
}  // namespace memwall::workload
