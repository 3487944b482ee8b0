import click


@click.command()
@click.option("--data")
def demo(data):
    pass
