import typer

commands = typer.Typer()


def register(a):
    pass
