"""The DAG that the tests of hooks start."""

from airflow.decorators import dag, task


@dag(dag_id="retrain", schedule=None, catchup=False)
def retrain():
    @task
    def fit(**context):
        conf = context["dag_run"].conf
        assert conf["slot"] == "fraud", conf
        assert conf["features"][0]["name"] == "amount", conf

    fit()


retrain()
