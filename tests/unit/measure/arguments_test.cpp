// The command line of memwall-measure, and the patterns of --only.

#include "arguments.h"

#include <gtest/gtest.h>

#include "record.h"

namespace {

using namespace memwall::measure;

Arguments parse(const std::vector<std::string>& words) {
    return parse_arguments(words);
}

TEST(Arguments, DefaultsAndValues) {
    const Arguments a = parse({"--out", "x.json"});
    EXPECT_EQ(a.suite, "full");
    EXPECT_EQ(a.out, "x.json");
    EXPECT_TRUE(a.only.empty());
    const Arguments b = parse({"--suite", "quick", "--only", "gemm", "--only", "read*", "--list", "--gpu", "2"});
    EXPECT_EQ(b.suite, "quick");
    EXPECT_EQ(b.only.size(), 2U);
    EXPECT_TRUE(b.list);
    EXPECT_EQ(b.gpu, 2);
}

TEST(Arguments, BadInputIsNamed) {
    EXPECT_THROW(parse({}), InputError);                            // nowhere to write
    EXPECT_THROW(parse({"--out"}), InputError);                     // no value
    EXPECT_THROW(parse({"--list", "--suite", "all"}), InputError);  // no such suite
    EXPECT_THROW(parse({"--list", "--gpu", "one"}), InputError);
    EXPECT_THROW(parse({"--list", "--gpu", "-1"}), InputError);
    try {
        parse({"--frobnicate"});
        FAIL();
    } catch (const InputError& error) {
        EXPECT_NE(std::string(error.what()).find("--frobnicate"), std::string::npos);
    }
}

TEST(Pattern, APartOrAWholeWithStars) {
    EXPECT_TRUE(matches("gemm", "gemm-m8"));
    EXPECT_TRUE(matches("m8", "gemm-m8"));
    EXPECT_FALSE(matches("m9", "gemm-m8"));
    EXPECT_TRUE(matches("gemm-*", "gemm-m8"));
    EXPECT_FALSE(matches("m8*x", "gemm-m8"));
    EXPECT_FALSE(matches("emm-*", "gemm-m8"));
    EXPECT_TRUE(matches("g?mm-m*8", "gemm-m128"));
}

TEST(Choice, TakesWhatFitsAndRefusesWhatFitsNothing) {
    Arguments a;
    a.suite = "full";
    a.only = {"gemm-m8192*"};
    const Cases cases = chosen_cases(a);
    ASSERT_FALSE(cases.empty());
    for (const Case& c : cases) EXPECT_EQ(c.id().substr(0, 10), "gemm-m8192");
    a.only = {"no-such-thing"};
    EXPECT_THROW((void)chosen_cases(a), InputError);
}

}  // namespace
