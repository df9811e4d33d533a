"""The page of averaging.py: each method against the plain one, with a place for test-time augmentation."""

import averaging as recipe
import reporting


def test_the_page_shows_each_method_against_none():
    found = {}
    for experiment in recipe.EXPERIMENTS:
        for method in recipe.METHODS:
            found[experiment.title, method] = [(0.5, None), (0.6, None), (0.7, None)]
        found[experiment.title, "none"] = [(0.5, 0.6), (0.6, 0.7), (0.7, 0.8)]
        found[experiment.title, "swa"] = [(0.75, None)] * 3
    page = reporting.page("averaging", {"accuracies": recipe.table(found)})
    plain = "60.00 (50.00 to 70.00)"
    row = f"| MNIST, 100 images a class | mnist_net | {plain} | {plain}, +0.00 | 75.00 (75.00 to 75.00), +15.00 | "
    assert row + f"{plain}, +0.00 | 70.00 (60.00 to 80.00), +10.00 |" in page
    assert page.count("+15.00") == page.count("+10.00") == len(recipe.EXPERIMENTS)


def test_each_method_averages_in_its_own_way():
    assert [config.averages for config in recipe.METHODS.values()] == [None, "ema", "swa", "schedule_free"]
