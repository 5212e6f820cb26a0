#include "base/json_reader.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace memwall {
namespace {

namespace fs = std::filesystem;

/// The message of the InputError that `act` must throw.
template <class Act>
std::string complaint(Act act) {
    try {
        act();
    } catch (const InputError& e) {
        EXPECT_EQ(e.exit_status(), 2);
        return e.what();
    }
    ADD_FAILURE() << "no InputError";
    return {};
}

class Scratch : public testing::Test {
protected:
    Scratch() : folder_(fs::path(testing::TempDir()) / ("json_reader_" + std::string(name()))) {
        fs::remove_all(folder_);
        fs::create_directories(folder_);
    }
    ~Scratch() override { fs::remove_all(folder_); }
    static const char* name() { return testing::UnitTest::GetInstance()->current_test_info()->name(); }
    [[nodiscard]] fs::path file(const std::string& text) const {
        const fs::path path = folder_ / "x.json";
        std::ofstream(path) << text;
        return path;
    }
    fs::path folder_;
};

TEST(JsonReader, ReadsLeavesOfEveryType) {
    const auto json = nlohmann::json::parse(R"({"n": 1.5, "i": 3, "f": 4096.0, "s": "a", "b": true, "l": [1, 2]})");
    const JsonReader at(json, "x.json");
    EXPECT_DOUBLE_EQ(at.number("n", 0, 2), 1.5);
    EXPECT_EQ(at.integer("i", 1, 3), 3);
    EXPECT_EQ(at.integer("f", 1, 4096), 4096);
    EXPECT_EQ(at.string("s"), "a");
    EXPECT_TRUE(at.boolean_or("b", false));
    EXPECT_EQ(at.at("l").elements().at(1).as_integer(0, 9), 2);
    EXPECT_EQ(at.integer_or("absent", 7, 0, 9), 7);
    EXPECT_NO_THROW(at.finish());
}

TEST(JsonReader, AnErrorSaysFilePointerFoundAndAllowed) {
    const auto json = nlohmann::json::parse(R"({"sm": {"max_threads": "abc"}})");
    const JsonReader root(json, "configs/devices/x.json");
    EXPECT_EQ(complaint([&] { (void)root.at("sm").integer("max_threads", 1, 4096); }),
              "configs/devices/x.json: /sm/max_threads: found \"abc\"; allowed: an integer from 1 to 4096");
    EXPECT_EQ(
        complaint([&] { (void)root.at("sm").number("width", 0, 10); }),
        "configs/devices/x.json: /sm/width: found nothing (the field is missing); allowed: a number from 0 to 10");
}

TEST(JsonReader, RangesAreClosedAndIntegersAreWhole) {
    const auto json = nlohmann::json::parse(R"({"half": 0.5, "big": 18446744073709551615, "low": -1, "null": null})");
    const JsonReader at(json, "x");
    EXPECT_DOUBLE_EQ(at.number("half", 0.5, 0.5), 0.5);
    for (const char* key : {"half", "big", "low", "null"}) {
        EXPECT_THROW((void)at.integer(key, 0, 100), InputError) << key;
    }
    EXPECT_THROW((void)at.number("low", 0, 1), InputError);
}

TEST(JsonReader, UnknownKeysNameTheNearest) {
    const auto json = nlohmann::json::parse(R"({"max_threads": 1, "max_thread": 2})");
    const JsonReader strict(json, "x");
    (void)strict.integer("max_threads", 0, 9);
    EXPECT_NE(complaint([&] { strict.finish(); })
                  .find("/max_thread: found an unknown field \"max_thread\"; allowed: the "
                        "nearest known field is \"max_threads\""),
              std::string::npos);
    const JsonReader lenient(json, "x", JsonReader::Mode::lenient);
    EXPECT_NO_THROW(lenient.finish());
}

TEST(JsonReader, PointersAreEscaped) {
    const auto json = nlohmann::json::parse(R"({"a/b": {"c~d": []}})");
    const JsonReader root(json, "x");
    EXPECT_EQ(root.at("a/b").at("c~d").pointer(), "/a~1b/c~0d");
}

TEST(JsonReader, ChoicesAreListed) {
    const auto json = nlohmann::json::parse(R"({"policy": "fifo"})");
    const std::vector<std::string> allowed{"lru", "random"};
    const JsonReader root(json, "x");
    EXPECT_EQ(complaint([&] { (void)root.choice("policy", allowed); }),
              "x: /policy: found \"fifo\"; allowed: one of \"lru\", \"random\"");
}

TEST_F(Scratch, SyntaxErrorsSayLineAndColumn) {
    const auto path = file("{\n  \"a\": 1,\n  \"b\" 2\n}");
    EXPECT_NE(complaint([&] { (void)load_json(path); }).find(path.string() + ": line 3, column 7"), std::string::npos)
        << complaint([&] { (void)load_json(path); });
}

TEST_F(Scratch, EmptyMissingAndFolderAreBadInput) {
    EXPECT_NE(complaint([&] { (void)load_json(folder_ / "no.json"); }).find("no such file"), std::string::npos);
    EXPECT_NE(complaint([&] { (void)load_json(folder_); }).find("a folder"), std::string::npos);
    EXPECT_NE(complaint([&] { (void)load_json(file("")); }).find("line 1, column 1"), std::string::npos);
}

TEST_F(Scratch, AKeyTwiceIsAnError) {
    EXPECT_NE(complaint([&] { (void)load_json(file(R"({"a": {"b": 1, "b": 2}})")); }).find("\"b\" twice"),
              std::string::npos);
    EXPECT_NO_THROW((void)load_json(file(R"([{"a": 1}, {"a": 2, "b": {"a": 3}}])")));
}

TEST_F(Scratch, HostileTextIsBadInput) {
    for (const std::string text : {"{\"a\": 1e999}", "\xff\xfe", "nul", "{\"a\":", "\"\\ud800\""}) {
        EXPECT_THROW((void)parse_json(text, "x"), InputError) << text;
    }
}

TEST_F(Scratch, AtomicWriteReplacesTheWholeFile) {
    const fs::path path = folder_ / "out.json";
    atomic_write(path, "a long first text");
    atomic_write(path, "short");
    EXPECT_EQ(read_text(path), "short");
    EXPECT_FALSE(fs::exists(path.string() + ".tmp"));
}

TEST_F(Scratch, AtomicWriteThatFailsLeavesNothing) {
    EXPECT_THROW(atomic_write(folder_ / "no" / "out.json", "x"), HostError);
    fs::create_directories(folder_ / "taken" / "inside");  // a folder cannot be replaced by a file
    EXPECT_THROW(atomic_write(folder_ / "taken", "x"), HostError);
    EXPECT_FALSE(fs::exists((folder_ / "taken").string() + ".tmp"));
}

TEST_F(Scratch, AFullDiskIsAHostError) {
    if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
    const fs::path path = folder_ / "out.json";
    fs::create_symlink("/dev/full", path.string() + ".tmp");  // the temporary lies where nothing fits
    EXPECT_THROW(atomic_write(path, "x"), HostError);
    EXPECT_FALSE(fs::exists(path));
}

TEST(NearestName, CountsEdits) {
    EXPECT_EQ(nearest_name("max_thread", {"ways", "max_threads", "max_warps"}), "max_threads");
    EXPECT_EQ(nearest_name("x", {}), "");
}

}  // namespace
}  // namespace memwall
