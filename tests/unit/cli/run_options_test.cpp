// An option of `memwall run` either has an effect or is refused.
#include "cli/run_options.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace memwall::cli {
namespace {

using Arguments = std::vector<std::string>;

const Arguments kOp = {"--device", "d", "--op", "read bytes=1024"};
const Arguments kDecode = {"--device", "d", "--model", "m", "--phase", "decode"};
const Arguments kPrefill = {"--device", "d", "--model", "m", "--phase", "prefill"};

Arguments with(Arguments arguments, const Arguments& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

/// The message with which these arguments are refused, always with status 2; empty when they are accepted.
std::string refusal(const Arguments& arguments) {
    try {
        static_cast<void>(read_run_options(arguments));
    } catch (const Error& error) {
        EXPECT_EQ(error.exit_status(), 2);
        return error.what();
    }
    return "";
}

TEST(RunOptions, RefusesWhatWouldHaveNoEffect) {
    for (const Arguments& more : {Arguments{"--phase", "decode"},
                                  {"--batch", "4"},
                                  {"--context", "9"},
                                  {"--tokens", "9"},
                                  {"--dtype", "fp8"},
                                  {"--weights-dtype", "fp8"},
                                  {"--kv-dtype", "fp8"},
                                  {"--page", "16"},
                                  {"--layers", "2"},
                                  {"--runtime", "pdl"},
                                  {"--all-layers"},
                                  {"--timeline-sms", "1"}}) {
        EXPECT_NE(refusal(with(kOp, more)).find(more.front()), std::string::npos) << more.front();
    }
    for (const Arguments& more : {Arguments{"--tokens", "9"}, {"--all-layers"}, {"--layers-simulated", "3"}}) {
        EXPECT_NE(refusal(with(kDecode, more)).find("prefill"), std::string::npos) << more.front();
    }
    for (const Arguments& more :
         {Arguments{"--context", "9"}, {"--weights-dtype", "fp8"}, {"--kv-dtype", "fp8"}, {"--page", "16"}}) {
        EXPECT_NE(refusal(with(kPrefill, more)).find("decode"), std::string::npos) << more.front();
    }
    EXPECT_NE(refusal(with(kPrefill, {"--all-layers", "--layers-simulated", "3"})), "");
    EXPECT_NE(refusal(with(kOp, {"--model", "m"})), "");
}

TEST(RunOptions, RefusesNumbersThatMakeNoSense) {
    EXPECT_NE(refusal(with(kOp, {"--stages", "0"})).find("--stages"), std::string::npos);
    EXPECT_NE(refusal(with(kOp, {"--stages", "two"})), "");
    for (const char* clock : {"", "0", "-5", "nan", "inf", "1755MHz", "fast"})
        EXPECT_NE(refusal(with(kOp, {"--sm-clock", clock})).find("--sm-clock"), std::string::npos) << clock;
    EXPECT_NE(refusal(with(kDecode, {"--batch", "0"})).find("--batch"), std::string::npos);
    EXPECT_NE(refusal(with(kDecode, {"--layers", "-1"})).find("--layers"), std::string::npos);
    EXPECT_NE(refusal(with(kPrefill, {"--layers-simulated", "1"})).find("--layers-simulated"), std::string::npos);
}

TEST(RunOptions, BecomeAnOperationAndOverrides) {
    const auto options =
        read_run_options(with(kDecode, {"--batch", "4", "--context", "512", "--kv-dtype", "fp8", "--layers", "2",
                                        "--runtime", "pdl", "--sm-clock", "1755", "--stages", "3"}));
    ASSERT_TRUE(options);
    const workload::OpSpec op = op_of(*options);
    EXPECT_EQ(op.op(), "model_decode");
    EXPECT_EQ(op.number("batch"), 4);
    EXPECT_EQ(op.number("context"), 512);
    EXPECT_EQ(op.number("layers"), 2);
    EXPECT_EQ(*op.find("kv_dtype"), "fp8");
    EXPECT_EQ(*op.find("runtime"), "pdl");
    EXPECT_EQ(options->sets, Arguments{"/clocks/sm_mhz=1755"});
    EXPECT_EQ(wish_of(*options).stages, 3);
    EXPECT_FALSE(wish_of(*options).tile.has_value());
}

TEST(RunOptions, TheSustainedClockIsNoOverride) {
    const auto options = read_run_options(with(kOp, {"--sm-clock", "sustained"}));
    ASSERT_TRUE(options);
    EXPECT_EQ(options->repetition->warmups, Repetition::forever().warmups);
    EXPECT_TRUE(options->sets.empty());
    EXPECT_EQ(read_run_options(with(kOp, {"--sm-clock", "burst"}))->repetition->warmups, 0);
    EXPECT_FALSE(read_run_options(with(kOp, {"--sm-clock", "1755"}))->repetition);
}

}  // namespace
}  // namespace memwall::cli
