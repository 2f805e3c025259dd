from app.cli.progress import progress_bar


def test_nothing_is_drawn_where_there_is_no_terminal(capsys):
    with progress_bar() as advance:
        advance(1, 2, "checking cases")
    told = capsys.readouterr()
    assert told.out == ""
    assert "\x1b" not in told.err
